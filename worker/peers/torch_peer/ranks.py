"""The ranks of a cell: where they meet, what they add up, and who waits for whom."""

import contextlib
import mmap
import os
import stat
import threading
import time
from datetime import timedelta

import torch
import torch.distributed as dist

from .attempt import SILENCE_S, Failure

PATIENCE_S = 10  # past the clocks that the supervisor watches, and by which it judges
LOOK_S = 0.25
LOOKS = round(SILENCE_S / LOOK_S)  # in a row, until what they show is told
SLOT = 64  # bytes of a rank in the shared memory: a cache line of its own


def check_shared(fd, size):
    """Refuses what the ranks do not own: a file that has a name, or another's bytes."""
    try:
        status = os.fstat(fd)
    except OSError as error:
        raise Failure("failed", f"the ranks' shared memory (descriptor {fd}): "
                                f"{error.strerror}") from error
    if status.st_nlink > 0 or not stat.S_ISREG(status.st_mode):
        raise Failure("failed", f"the ranks' shared memory (descriptor {fd}) is a file "
                                "or a device: expected a memfd")
    if status.st_size not in (0, size):
        raise Failure("failed", f"the ranks' shared memory (descriptor {fd}) holds "
                                f"{status.st_size} bytes of something else")


class Board:
    """Of each rank, in the memory that the supervisor made: how many meetings it has
    come to or left, and how often its follower has looked around. All ranks have the
    same meetings in the same order, so a rank that is in one and sees a lower count than
    its own waits for that rank. So it does for one in the same meeting whose follower
    stands still: a process that is stopped, as a follower alone cannot be."""

    def __init__(self, rank, world, fd):
        check_shared(fd, world * SLOT)
        os.ftruncate(fd, world * SLOT)  # zeros, or what another rank made of them
        # Eight bytes at once, so that no reader sees half a number.
        self.numbers = memoryview(mmap.mmap(fd, world * SLOT)).cast("q")
        self.rank, self.others = rank, [r for r in range(world) if r != rank]

    def count_meeting(self):
        self.numbers[self.rank * (SLOT // 8)] += 1

    def meetings(self, rank):
        return self.numbers[rank * (SLOT // 8)]

    def count_look(self):
        self.numbers[self.rank * (SLOT // 8) + 1] += 1

    def looks(self, rank):
        return self.numbers[rank * (SLOT // 8) + 1]


class Ranks:
    """This rank among those of its cell. With one rank everything here is nothing."""

    def __init__(self, attempt, p, device):
        self.attempt, self.p, self.device = attempt, p, device
        self.rank, self.world = attempt.rank, attempt.world
        if self.world != p["ranks"]:
            raise Failure("failed", f"LM_WORLD is {self.world}, expected the cell's "
                                    f"{p['ranks']} ranks")
        self.board, self.told = None, False
        if self.world > 1 and attempt.shm_fd is not None:
            self.board = board = Board(self.rank, self.world, attempt.shm_fd)
            self.met = 0  # this rank's meetings at the last look
            self.looked = dict.fromkeys(board.others, 0)  # the others' looks, then
            # Looks in a row at which each of them was behind this rank, or stood still.
            self.behind, self.still = ({r: 0 for r in board.others} for _ in range(2))
            threading.Thread(target=self.follow, daemon=True).start()

    # -- signs of life --

    @contextlib.contextmanager
    def meeting(self):
        """Around whatever may wait for other ranks."""
        if self.board is None:
            yield
            return
        self.board.count_meeting()
        yield
        self.board.count_meeting()

    def follow(self):
        while True:
            time.sleep(LOOK_S)
            self.look()

    def look(self):
        """Say once a second that this rank waits for another, and take it back where it
        no longer does: if the meeting still does not end, either may be the one that is
        stuck, and if it has ended, this rank may hang in what comes next. Time is
        counted in looks, so that none passes for a rank that is stopped itself."""
        board = self.board
        board.count_look()
        mine = board.meetings(self.rank)
        for r in board.others:
            late = mine == self.met and board.meetings(r) < mine
            self.behind[r] = self.behind[r] + 1 if late else 0
            looks, before = board.looks(r), self.looked[r]
            self.still[r] = self.still[r] + 1 if looks == before else 0
            self.looked[r] = looks
        self.met = mine
        most = max(*self.behind.values(), *self.still.values()) if mine % 2 else 0
        if most >= LOOKS:
            if not self.told or self.since_told == LOOKS - 1:
                self.tell(True)
            else:
                self.since_told += 1
        elif self.told:
            self.tell(False)

    def tell(self, waits):
        self.told, self.since_told = waits, 0
        self.attempt.send_waiting(waits)

    # -- meetings --

    def meet(self):
        """Form the process group. Nothing of it is ever undone on a failure."""
        if self.world == 1:
            return
        a, gpu = self.attempt, self.device.type == "cuda"
        # The ranks share one host's memory, so its loopback serves, whatever its name
        # resolves to; and what NCCL tells diagnosis tools needs a fixed port.
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
        os.environ.setdefault("NCCL_RAS_ENABLE", "0")
        start = timedelta(seconds=self.p["start_s"] + PATIENCE_S)
        later = timedelta(seconds=max(self.p["start_s"], self.p["heartbeat_s"])
                          + PATIENCE_S)
        with self.meeting():
            self.path = os.path.join(a.folder, f"store-{a.nonce}")
            store = dist.FileStore(self.path, self.world)
            store.set_timeout(start)
            dist.init_process_group(
                "nccl" if gpu else "gloo", store=store, rank=self.rank,
                world_size=self.world, timeout=later,
                device_id=self.device if gpu else None)
        self.barrier()  # connections are made by the first that needs them

    def leave(self):
        """Part, after a last meeting: once the result is told, nothing else is."""
        if self.world == 1:
            return
        if self.rank == 0:
            os.unlink(self.path)
        dist.destroy_process_group()

    def sum(self, values):
        """Each of these numbers summed over the ranks. Synchronises."""
        if self.world == 1:
            return values
        both = torch.tensor(values, dtype=torch.float64, device=self.device)
        with self.meeting():
            dist.all_reduce(both)
            return both.tolist()

    def barrier(self):
        """Wait for the others, and for this rank's device."""
        self.sum([0.0])

    def mean_(self, value):
        """`value` becomes its mean over the ranks, once the device is there."""
        if self.world > 1:
            with self.meeting():
                dist.all_reduce(value)
            value /= self.world

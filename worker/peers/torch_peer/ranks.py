"""The ranks of a cell: where they meet, what they add up, and who waits for whom."""

import contextlib
import mmap
import os
import threading
import time
from datetime import timedelta

import torch
import torch.distributed as dist

from .attempt import SILENCE_S, Failure

PATIENCE_S = 10  # past the clocks that the supervisor watches, and by which it judges
LOOK_S = 0.25
SLOT = 64  # bytes of a rank in the shared memory: a cache line of its own


class Board:
    """How many meetings each rank has come to or left, in the memory that the
    supervisor made. All ranks have the same meetings in the same order, so a rank that
    is in one and sees a lower count than its own waits for that rank."""

    def __init__(self, rank, world, fd):
        os.ftruncate(fd, world * SLOT)  # zeros, or what another rank made of them
        # Eight bytes at once, so that no reader sees half a number.
        self.counts = memoryview(mmap.mmap(fd, world * SLOT)).cast("q")
        self.own = rank * (SLOT // 8)
        self.others = [r * (SLOT // 8) for r in range(world) if r != rank]

    def count(self):
        self.counts[self.own] += 1

    def read(self):
        """This rank's count, and the least of the others'."""
        return self.counts[self.own], min(self.counts[at] for at in self.others)


class Ranks:
    """This rank among those of its cell. With one rank everything here is nothing."""

    def __init__(self, attempt, p, device):
        self.attempt, self.p, self.device = attempt, p, device
        self.rank, self.world = attempt.rank, attempt.world
        if self.world != p["ranks"]:
            raise Failure("failed", f"LM_WORLD is {self.world}, expected the cell's "
                                    f"{p['ranks']} ranks")
        self.board, self.entered_s, self.told = None, 0.0, 0
        if self.world > 1 and attempt.shm_fd is not None:
            self.board = Board(self.rank, self.world, attempt.shm_fd)
            threading.Thread(target=self.follow, daemon=True).start()

    # -- signs of life --

    @contextlib.contextmanager
    def meeting(self):
        """Around whatever may wait for other ranks."""
        if self.board is None:
            yield
            return
        self.entered_s = time.monotonic()
        self.board.count()
        yield
        self.board.count()

    def follow(self):
        while True:
            time.sleep(LOOK_S)
            self.look(time.monotonic())

    def look(self, now_s):
        """Say, once a meeting, that this rank waits for another, and take it back where
        the other came and the meeting still does not end: from then on either may be
        the one that is stuck."""
        mine, least = self.board.read()
        inside, ahead = mine % 2 == 1, least < mine
        long = now_s - self.entered_s >= SILENCE_S
        if inside and ahead and long and self.told != mine:
            self.told = mine
            self.tell(True)
        elif inside and not ahead and self.told == mine:
            self.told = 0
            self.tell(False)

    def tell(self, waiting):
        a = self.attempt
        a.send("progress", phase=a.phase_name, done=a.step, waiting=waiting)

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

"""Task allreduce as worker/allreduce.c has it: each size of matrix/curve.h in turn. A
sum of known numbers is checked on every rank, then zeros are added up again and again;
a repetition begins when a sum of a few elements has ended, which brings the ranks
together, and counts as long as it took the slowest rank."""

import time

import torch
import torch.distributed as dist

from . import host, train
from .attempt import Failure, unsupported

LEAST, MOST, FACTOR = 64 << 10, 1 << 30, 4
SHARE = 4  # an array takes at most this part of the memory there is
LOT = 8  # repetitions queued while the GPU is kept busy
BUSY_CYCLES = 2_000_000  # of its clock: about a millisecond
PIECE = 1 << 18  # elements checked at once
TYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
# Whole numbers from 0 to 3, so that 64 ranks stay below 256, up to where bf16 has all.
VALUES = 4


def number_at(at, rank):
    """Element `at` of a rank's array, in int64: of what neighbours in place or rank
    have, little can be told."""
    x = (at + 1 + rank * 0x2545F491) * 0x1E3779B97F4A7C15
    x = x ^ (x >> 31)
    return ((x * 0x3F58476D1CE4E5B9) >> 40) % VALUES


class Probe:
    def __init__(self, a, p, ranks):
        self.a, self.p, self.ranks, self.device = a, p, ranks, ranks.device
        if ranks.world < 2:
            raise unsupported("task allreduce goes with 2 ranks or more, not "
                              f"{ranks.world}")
        if p["precision"] not in TYPES:
            raise unsupported(f"precision {p['precision']} is one of products: sums of "
                              "its elements are those of fp32")
        self.type = TYPES[p["precision"]]
        self.cuda = self.device.type == "cuda"

    def choose_sizes(self):
        """All that every rank has room for."""
        room = host.available() / self.ranks.world
        if self.cuda:
            room = torch.cuda.mem_get_info(self.device)[0]
        room = min(room, self.p["memory_limit"] or room) / SHARE
        rooms = [0.0] * self.ranks.world
        rooms[self.ranks.rank] = room
        room = min(self.ranks.sum(rooms))
        sizes = [LEAST]
        while sizes[-1] < MOST:
            sizes.append(sizes[-1] * FACTOR)
        sizes = [size for size in sizes if size <= room]
        why = "an array may take a quarter of the memory that a rank may use, " \
              f"{room:.0f} bytes here"
        if not sizes:
            raise Failure("oom_device" if self.cuda else "oom_host",
                          f"{why}, and the smallest takes {LEAST}", LEAST, int(room))
        if sizes[-1] < MOST:
            self.a.send("facts", sizes_left_out=why)
        return sizes

    def show_life(self):
        if self.a.is_silent():
            self.a.send("progress", phase=self.a.phase_name, done=self.a.step)

    def pieces(self, array):
        """Slices of `array`, and the places of their elements."""
        for first in range(0, len(array), PIECE):
            part = array[first : first + PIECE]
            yield part, torch.arange(first, first + len(part), device=self.device)
            self.show_life()

    def check_sum(self, array):
        world = self.ranks.world
        for part, at in self.pieces(array):
            part.copy_(number_at(at, self.ranks.rank))
        with self.ranks.meeting():
            dist.all_reduce(array)
            self.synchronize()
        for part, at in self.pieces(array):
            wanted = sum(number_at(at, rank) for rank in range(world))
            wrong = (part.long() != wanted).nonzero().flatten()
            if len(wrong):
                i = wrong[0]
                size = array.numel() * array.element_size()
                raise Failure("invalid", f"of an all-reduce of {size} bytes element "
                                         f"{at[i].item()} is {part[i].item():g}, not the "
                                         f"sum {wanted[i].item()}")

    def synchronize(self):
        if self.cuda:
            torch.cuda.synchronize()

    def now(self):
        if not self.cuda:
            return time.monotonic() * 1e3
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event

    def repetitions(self, size):
        """As many times on every rank: the more, the sooner each is over."""
        if self.cuda:
            return min(max((32 << 30) // size, 20), 200)
        return min(max((2 << 30) // size, 5), 100)

    def repeat(self, array):
        """Milliseconds of each repetition, after some that nobody looks at."""
        few = torch.zeros(self.ranks.world, dtype=self.type, device=self.device)
        marks, skipped = [], 5 if self.cuda else 2
        size = array.numel() * array.element_size()
        with self.ranks.meeting():
            for i in range(skipped + self.repetitions(size)):
                if self.cuda and i % LOT == 0:
                    # Something to do while a lot is queued: else small sizes would be
                    # timed by how fast they are launched.
                    torch.cuda.synchronize()
                    torch.cuda._sleep(BUSY_CYCLES)
                dist.all_reduce(few)
                begin = self.now()
                dist.all_reduce(array)
                marks.append((begin, self.now()))
                self.show_life()
            self.synchronize()
        return [begin.elapsed_time(end) if self.cuda else end - begin
                for begin, end in marks[skipped:]]

    def take_slowest(self, ms):
        """Each repetition's time on the slowest rank."""
        all_ms = [0.0] * (len(ms) * self.ranks.world)
        first = self.ranks.rank * len(ms)
        all_ms[first : first + len(ms)] = ms
        all_ms = self.ranks.sum(all_ms)
        return [max(all_ms[i :: len(ms)]) for i in range(len(ms))]

    def measure(self, size):
        """The row of one size."""
        array = torch.empty(size // self.type.itemsize, dtype=self.type,
                            device=self.device)
        self.check_sum(array)
        if not self.a.step:
            self.startup_ms = self.a.age_ms()
        array.zero_()
        ms = self.take_slowest(self.repeat(array))
        median, p10, p90 = (train.quantile(ms, q) for q in (0.5, 0.1, 0.9))
        n = self.ranks.world
        row = {"bytes": size, "ms_median": median, "ms_p10": p10, "ms_p90": p90,
               "bus_bytes_per_s": size * 2 * (n - 1) / n / median * 1e3}
        self.a.send("allreduce", **row)
        self.a.step += 1
        return row

    def run(self):
        a = self.a
        a.phase("start")
        train.set_modes(self.p, self.device)
        self.ranks.meet()
        sizes = self.choose_sizes()
        a.phase("measure")
        rows = [self.measure(size) for size in sizes]
        a.phase("end")
        self.ranks.barrier()
        a.send("result", startup_ms=self.startup_ms,
               allreduce_bus_bytes_per_s=max(row["bus_bytes_per_s"] for row in rows),
               allreduce_latency_ms=rows[0]["ms_median"])
        self.ranks.leave()

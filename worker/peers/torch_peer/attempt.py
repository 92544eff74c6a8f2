"""One attempt at a cell: what is asked, whom this process tells, what went wrong."""

import json
import math
import os
import threading
import time

PROTOCOL = 1
SILENCE_S = 1.0


class Failure(Exception):
    """The attempt ends as `status`, for the reason that `text` states."""

    def __init__(self, status, text, bytes_asked=None, bytes_free=None,
                 collateral=False):
        super().__init__(text)
        self.status = status
        self.bytes_asked = bytes_asked
        self.bytes_free = bytes_free
        self.collateral = collateral  # it failed because another rank is lost


def unsupported(text):
    return Failure("unsupported", text)


def finite(fields):
    """`fields` with null for numbers that JSON has no word for."""
    return {name: None if isinstance(value, float) and not math.isfinite(value) else value
            for name, value in fields.items()}


class Attempt:
    def __init__(self, before_s, start_s):
        self.before_s = before_s  # CPU time spent before the clock was first read
        self.start_s = start_s
        self.last_s = start_s
        self.fd = int(os.environ.get("LM_EVENT_FD", "1"))
        self.rank = int(os.environ.get("LM_RANK", "0"))
        self.world = int(os.environ.get("LM_WORLD", "1"))
        self.device_index = int(os.environ.get("LM_LOCAL_RANK", self.rank))
        self.nonce = os.environ.get("LM_NONCE", "")
        shared = os.environ.get("LM_SHM_FD")
        self.shm_fd = int(shared) if shared else None
        self.folder = "."  # the attempt's, where ranks find each other
        self.phase_name = "start"
        self.step = 0  # finished ones
        self.params = {}
        self.lock, self.ended = threading.RLock(), False

    def send(self, event, **fields):
        with self.lock:
            self.ended = self.ended or event in ("result", "error")
            self.last_s = time.monotonic()
            line = {"event": event, "t_ms": int((self.last_s - self.start_s) * 1e3)}
            line.update(finite(fields))
            data = json.dumps(line, separators=(",", ":"), allow_nan=False) + "\n"
            written = os.write(self.fd, data.encode())
            if written != len(data.encode()):
                raise OSError(f"only {written} bytes of event '{event}' fit")

    def send_waiting(self, waits):
        """From a thread of its own: whether this rank waits for another. Nothing once
        its last word is said."""
        with self.lock:
            if not self.ended:
                self.send("progress", phase=self.phase_name, done=self.step,
                          waiting=waits)

    def phase(self, name):
        self.phase_name = name
        self.send("phase", name=name)

    def is_silent(self):
        return time.monotonic() - self.last_s >= SILENCE_S

    def age_ms(self):
        """Milliseconds since the process started, loading included."""
        return (self.before_s + time.monotonic() - self.start_s) * 1e3

    def report(self, failure):
        fields = {"kind": failure.status, "phase": self.phase_name, "step": self.step,
                  "text": str(failure)}
        for name in ("bytes_asked", "bytes_free", "collateral"):
            if getattr(failure, name) not in (None, False):
                fields[name] = getattr(failure, name)
        self.send("error", **fields)


def read_spec(path):
    """The parameters of a spec.json, every one by name, as the runner writes them."""
    with open(path, encoding="utf-8") as file:
        spec = json.load(file)
    for name, known in (("format", 1), ("protocol", PROTOCOL)):
        if spec.get(name) != known:
            raise Failure("failed",
                          f"{path}: found {name} {spec.get(name)}, expected {known}")
    return spec["params"]

"""What PyTorch, the device and the kernel say about memory."""

import re

import torch

UNITS = {"bytes": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}


def status(name):
    """A size of /proc/self/status, in bytes; None where it does not say."""
    with open("/proc/self/status", encoding="ascii", errors="replace") as file:
        match = re.search(rf"^{name}:\s+(\d+) kB", file.read(), re.MULTILINE)
    return int(match.group(1)) * 1024 if match else None


def available():
    with open("/proc/meminfo", encoding="ascii", errors="replace") as file:
        match = re.search(r"^MemAvailable:\s+(\d+) kB", file.read(), re.MULTILINE)
    return int(match.group(1)) * 1024 if match else None


def witness(device):
    """Bytes in use as the device says, or as the kernel does on a CPU: the most there
    ever was."""
    if device.type != "cuda":
        return status("VmHWM")
    free, total = torch.cuda.mem_get_info(device)
    return total - free


def peak(device):
    """The most that was allocated: by PyTorch's allocator, or by the process on a CPU,
    where PyTorch does not count."""
    if device.type != "cuda":
        return status("VmHWM")
    return torch.cuda.max_memory_allocated(device)


def asked(error):
    """Bytes that a refused allocation asked for, by its sentence."""
    match = re.search(r"[Tt]ried to allocate ([\d.]+) (bytes|KiB|MiB|GiB)", str(error))
    return int(float(match.group(1)) * UNITS[match.group(2)]) if match else None


class Marks:
    """Bytes in use at the end of forward, and the most during backward."""

    def __init__(self, device):
        self.device, self.before = device, torch.cuda.memory_allocated(device)
        self.forward = self.backward = 0

    def after_forward(self):
        self.forward = max(self.forward, torch.cuda.memory_allocated(self.device))
        torch.cuda.reset_peak_memory_stats(self.device)

    def after_backward(self):
        self.backward = max(self.backward,
                            torch.cuda.max_memory_allocated(self.device))

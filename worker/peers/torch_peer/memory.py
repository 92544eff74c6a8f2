"""What PyTorch and the device say about memory."""

import torch

from . import host


def witness(device):
    """Bytes in use as the device says, or as the kernel does on a CPU: the most there
    ever was."""
    if device.type != "cuda":
        return host.status("VmHWM")
    free, total = torch.cuda.mem_get_info(device)
    return total - free


def peak(device):
    """The most that was allocated: by PyTorch's allocator, or by the process on a CPU,
    where PyTorch does not count."""
    if device.type != "cuda":
        return host.status("VmHWM")
    return torch.cuda.max_memory_allocated(device)


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

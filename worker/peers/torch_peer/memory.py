"""What PyTorch and the device say about memory."""

import torch

from . import host


def witness(device):
    """Bytes in use as the device says, or as the kernel does on a CPU: the most since
    Peak() was made."""
    if device.type != "cuda":
        return host.status("VmHWM")
    free, total = torch.cuda.mem_get_info(device)
    return total - free


class Peak:
    """The most that was allocated since: by PyTorch's allocator. On a CPU, where that does
    not count, by how much the process grew, so that the interpreter and PyTorch itself,
    hundreds of megabytes, are not taken for a model's."""

    def __init__(self, device):
        self.device = device
        self.before = 0 if device.type == "cuda" else host.forget_peak()

    def bytes(self):
        if self.device.type == "cuda":
            return torch.cuda.max_memory_allocated(self.device)
        return max(0, host.status("VmHWM") - self.before)


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

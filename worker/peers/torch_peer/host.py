"""What the kernel says about memory, and refusals in words. Nothing here needs
PyTorch: it may be what does not load."""

import errno
import re
import resource

UNITS = {"bytes": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}


def status(name):
    """A size of /proc/self/status, in bytes; None where it does not say."""
    with open("/proc/self/status", encoding="ascii", errors="replace") as file:
        match = re.search(rf"^{name}:\s+(\d+) kB", file.read(), re.MULTILINE)
    return int(match.group(1)) * 1024 if match else None


def forget_peak():
    """Bytes in use; VmHWM is the most from now on, where the kernel lets it be reset."""
    try:
        with open("/proc/self/clear_refs", "w", encoding="ascii") as file:
            file.write("5")
    except OSError:
        pass  # the peak so far, that of loading PyTorch, stays
    return status("VmRSS")


def limit():
    """Bytes of data that this process may have by its memory_limit; None without one."""
    most = resource.getrlimit(resource.RLIMIT_DATA)[0]
    return None if most == resource.RLIM_INFINITY else most


def show_limit():
    return f"the memory limit of {limit() / (1 << 20):.4g} MiB"


def ran_out(error):
    """Whether `error` says that the host has no memory left."""
    text = str(error)
    if isinstance(error, MemoryError) or getattr(error, "errno", None) == errno.ENOMEM:
        return True
    if "can't allocate memory" in text or "std::bad_alloc" in text:
        return True
    # These have other causes as well, which are unlikely where there is a limit.
    return limit() is not None and any(words in text for words in (
        "failed to map segment", "Cannot allocate memory", "can't start new thread"))


def available():
    """Bytes that this process may still take: what the machine has, or its limit."""
    with open("/proc/meminfo", encoding="ascii", errors="replace") as file:
        match = re.search(r"^MemAvailable:\s+(\d+) kB", file.read(), re.MULTILINE)
    left = [int(match.group(1)) * 1024] if match else []
    limit, used = resource.getrlimit(resource.RLIMIT_DATA)[0], status("VmData")
    if limit != resource.RLIM_INFINITY and used is not None:
        left.append(max(0, limit - used))
    return min(left, default=None)


def asked(error):
    """Bytes that a refused allocation asked for, by its sentence."""
    match = re.search(r"[Tt]ried to allocate ([\d.]+) (bytes|KiB|MiB|GiB)", str(error))
    return int(float(match.group(1)) * UNITS[match.group(2)]) if match else None

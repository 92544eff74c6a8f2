"""What the device says during the timed window, by NVML, which comes with the driver:
the same questions as worker/telemetry.c asks, every 250 ms. Where there is no NVML, and
for each thing that a device does not tell, values stay unknown."""

import ctypes
import os
import threading

import torch

INTERVAL_S = 0.25
LEAST_MS = 2000  # energy over less says more of the counter's steps than of the work
CLOCK_SM, CLOCK_MEMORY, SENSOR_GPU = 1, 2, 0
NOT_AVAILABLE = (1 << 64) - 1
PROCESSES = 128
REASONS = {0x2: "application clocks", 0x4: "power cap", 0x8: "hardware slowdown",
           0x10: "sync boost", 0x20: "software thermal slowdown",
           0x40: "hardware thermal slowdown", 0x80: "power brake",
           0x100: "display clocks"}


class Process(ctypes.Structure):  # nvmlProcessInfo_v2_t
    _fields_ = [("pid", ctypes.c_uint), ("used", ctypes.c_ulonglong),
                ("gpu_instance", ctypes.c_uint), ("compute_instance", ctypes.c_uint)]


class Nvml:
    """One device's; every answer is a number, or None where it does not tell."""

    def __init__(self, device):
        self.handle = None
        try:
            self.library = ctypes.CDLL("libnvidia-ml.so.1")
        except OSError:
            return
        handle = ctypes.c_void_p()
        # CUDA counts devices as CUDA_VISIBLE_DEVICES says, NVML as the driver does.
        uuid = f"GPU-{torch.cuda.get_device_properties(device).uuid}".encode()
        if self.library.nvmlInit_v2() == 0 and \
                self.library.nvmlDeviceGetHandleByUUID(uuid, ctypes.byref(handle)) == 0:
            self.handle = handle

    def ask(self, names, kind, *arguments):
        """By the first of `names` that this driver has."""
        found = [getattr(self.library, name) for name in names
                 if self.handle and hasattr(self.library, name)]
        value = kind()
        if not found or found[0](self.handle, *arguments, ctypes.byref(value)) != 0:
            return None
        return value.value

    def sample(self):
        uint, count = ctypes.c_uint, ctypes.c_ulonglong
        return {
            "sm_clock_mhz": self.ask(["nvmlDeviceGetClockInfo"], uint, CLOCK_SM),
            "memory_clock_mhz":
                self.ask(["nvmlDeviceGetClockInfo"], uint, CLOCK_MEMORY),
            "sm_clock_max_mhz": self.ask(["nvmlDeviceGetMaxClockInfo"], uint, CLOCK_SM),
            "temperature_c": self.ask(["nvmlDeviceGetTemperature"], uint, SENSOR_GPU),
            "reasons": self.ask(["nvmlDeviceGetCurrentClocksEventReasons",
                                 "nvmlDeviceGetCurrentClocksThrottleReasons"], count),
            "energy_mj": self.ask(["nvmlDeviceGetTotalEnergyConsumption"], count),
            "foreign_processes": self.processes()[1]}

    def processes(self):
        """This process's bytes on the device, and how many others compute there."""
        names = ["nvmlDeviceGetComputeRunningProcesses_v3",
                 "nvmlDeviceGetComputeRunningProcesses_v2"]
        rows = (Process * PROCESSES)()
        found = [getattr(self.library, name) for name in names
                 if self.handle and hasattr(self.library, name)]
        listed = ctypes.c_uint(PROCESSES)
        if not found or found[0](self.handle, ctypes.byref(listed), rows) != 0:
            return None, None
        own = [row.used for row in rows[: listed.value] if row.pid == os.getpid()]
        if not own:  # another namespace's numbers: nobody can be told apart
            return None, None
        return None if own[0] == NOT_AVAILABLE else own[0], listed.value - len(own)


class Watch:
    """Between resume() and pause() the timed window runs."""

    def __init__(self, device):
        self.nvml = Nvml(device) if device.type == "cuda" else None
        self.ends, self.between, self.energy_j = [], [], 0.0
        self.stop = threading.Event()
        self.thread = None

    def follow(self):
        while not self.stop.wait(INTERVAL_S):
            self.between.append(self.nvml.sample())

    def resume(self):
        if self.nvml and self.nvml.handle:
            self.ends.append(self.nvml.sample())
            self.stop.clear()
            self.thread = threading.Thread(target=self.follow, daemon=True)
            self.thread.start()

    def pause(self):
        if not self.thread:
            return
        self.stop.set()
        self.thread.join()
        self.thread = None
        self.ends.append(self.nvml.sample())
        began, ended = (sample["energy_mj"] for sample in self.ends[-2:])
        known = self.energy_j is not None and began is not None and ended is not None
        self.energy_j = self.energy_j + (ended - began) / 1e3 if known else None

    def own_bytes(self):
        return self.nvml.processes()[0] if self.nvml and self.nvml.handle else None

    def fields(self, tokens, window_ms):
        """The metrics of design §8 that the device told; what is unknown is left out."""
        def told(name, samples):
            return [s[name] for s in samples if s[name] is not None]

        fields, every = {}, self.ends + self.between
        for name in ("sm_clock_mhz", "memory_clock_mhz"):
            values = told(name, self.between) or told(name, self.ends)
            if values:
                fields[name] = sum(values) / len(values)
        for name in ("sm_clock_max_mhz", "temperature_c", "foreign_processes"):
            values = told(name, every)
            if values:
                fields[name] = max(values)
        reasons = told("reasons", every)
        if reasons:
            words = [word for bit, word in REASONS.items() if any(r & bit for r in reasons)]
            fields["throttle_reasons"] = ", ".join(words) or "none"
        if self.ends and self.energy_j is not None and window_ms >= LEAST_MS:
            fields["joules_per_token"] = self.energy_j / tokens
        return fields

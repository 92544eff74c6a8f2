/*
 * What the device says of itself, by NVML, which comes with the driver and is loaded at
 * run time: neither its header nor the library is needed to build. What is declared
 * here of it is versioned by the names of its functions and does not change.
 */
#include <dlfcn.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stddef.h>
#include <string.h>
#include <unistd.h>

#include "kernels/cuda/device.h"

#define DEVICES 64
#define PROCESSES 128
#define LINKS 18 /* NVML_NVLINK_MAX_LINKS */

enum { SUCCESS = 0 };
enum { CLOCK_SM = 1, CLOCK_MEMORY = 2 };
enum { SENSOR_GPU = 0 };

/* Of a process whose memory the driver does not know. */
#define NOT_AVAILABLE (~0ull)

struct memory { /* nvmlMemory_t */
    unsigned long long total, free, used;
};

struct process { /* nvmlProcessInfo_v2_t, which _v3 functions fill as well */
    unsigned pid;
    unsigned long long used;
    unsigned gpu_instance, compute_instance;
};
_Static_assert(sizeof(struct process) == 24, "NVML's layout");

typedef int (*reading_fn)(void *device, int which, unsigned *out);
typedef int (*count_fn)(void *device, unsigned long long *out);

static struct nvml {
    int (*init)(void);
    int (*handle)(const char *bus_id, void **device);
    reading_fn clock, max_clock, temperature;
    int (*power)(void *device, unsigned *milliwatts);
    count_fn energy, reasons;
    int (*memory)(void *device, struct memory *out);
    int (*processes)(void *device, unsigned *count, struct process *out);
    int (*link_state)(void *device, unsigned link, unsigned *active);
    int (*driver)(char *version, unsigned size);
} nvml;

/* The later name first, then what older drivers call it. */
static const struct {
    const char *names[2];
    size_t at;
} symbols[] = {
        {{"nvmlInit_v2"}, offsetof(struct nvml, init)},
        {{"nvmlDeviceGetHandleByPciBusId_v2"}, offsetof(struct nvml, handle)},
        {{"nvmlDeviceGetClockInfo"}, offsetof(struct nvml, clock)},
        {{"nvmlDeviceGetMaxClockInfo"}, offsetof(struct nvml, max_clock)},
        {{"nvmlDeviceGetTemperature"}, offsetof(struct nvml, temperature)},
        {{"nvmlDeviceGetPowerUsage"}, offsetof(struct nvml, power)},
        {{"nvmlDeviceGetTotalEnergyConsumption"}, offsetof(struct nvml, energy)},
        {{"nvmlDeviceGetCurrentClocksEventReasons",
                 "nvmlDeviceGetCurrentClocksThrottleReasons"},
                offsetof(struct nvml, reasons)},
        {{"nvmlDeviceGetMemoryInfo"}, offsetof(struct nvml, memory)},
        {{"nvmlDeviceGetComputeRunningProcesses_v3",
                 "nvmlDeviceGetComputeRunningProcesses_v2"},
                offsetof(struct nvml, processes)},
        {{"nvmlDeviceGetNvLinkState"}, offsetof(struct nvml, link_state)},
        {{"nvmlSystemGetDriverVersion"}, offsetof(struct nvml, driver)},
};

static bool ready;
static _Atomic(void *) handles[DEVICES];

static void load(void) {
    void *library = dlopen("libnvidia-ml.so.1", RTLD_NOW | RTLD_LOCAL);
    if (!library) {
        return;
    }
    for (size_t i = 0; i < sizeof symbols / sizeof *symbols; i++) {
        void *found = NULL;
        for (int n = 0; n < 2 && !found && symbols[i].names[n]; n++) {
            found = dlsym(library, symbols[i].names[n]);
        }
        memcpy((char *)&nvml + symbols[i].at, &found, sizeof found);
    }
    ready = nvml.init && nvml.handle && nvml.init() == SUCCESS;
}

/* NVML counts devices as the driver does, CUDA as CUDA_VISIBLE_DEVICES says. */
static void *find(int device) {
    if (device < 0 || device >= DEVICES) {
        return NULL;
    }
    void *handle = atomic_load(&handles[device]);
    if (handle) {
        return handle;
    }
    char bus_id[32];
    if (cudaDeviceGetPCIBusId(bus_id, sizeof bus_id, device) != cudaSuccess) {
        (void)cudaGetLastError(); // or the next launch would report it
        return NULL;
    }
    if (nvml.handle(bus_id, &handle) != SUCCESS) {
        return NULL;
    }
    atomic_store(&handles[device], handle);
    return handle;
}

static double read_one(reading_fn ask, void *device, int which) {
    unsigned value;
    return ask && ask(device, which, &value) == SUCCESS ? (double)value : -1;
}

static int64_t count(count_fn ask, void *device) {
    unsigned long long value;
    return ask && ask(device, &value) == SUCCESS ? (int64_t)value : -1;
}

static void find_processes(void *device, struct telemetry *out) {
    struct process list[PROCESSES];
    unsigned listed = PROCESSES;
    if (!nvml.processes || nvml.processes(device, &listed, list) != SUCCESS) {
        return;
    }
    int64_t others = 0, bytes = 0;
    bool here = false;
    for (unsigned i = 0; i < listed; i++) {
        bool known = list[i].used != NOT_AVAILABLE;
        if (list[i].pid == (unsigned)getpid()) {
            here = true;
            out->own_bytes = known ? (int64_t)list[i].used : -1;
        } else {
            others++;
            bytes = known && bytes >= 0 ? bytes + (int64_t)list[i].used : -1;
        }
    }
    if (here) {
        out->foreign_processes = others;
        out->foreign_bytes = bytes;
    }
}

static bool is_ready(void) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, load);
    return ready;
}

bool cuda_telemetry(int device, struct telemetry *out) {
    void *handle = is_ready() ? find(device) : NULL;
    if (!handle) {
        return false;
    }
    unsigned milliwatts;
    struct memory memory;
    *out = (struct telemetry){
            .sm_clock_mhz = read_one(nvml.clock, handle, CLOCK_SM),
            .sm_clock_max_mhz = read_one(nvml.max_clock, handle, CLOCK_SM),
            .memory_clock_mhz = read_one(nvml.clock, handle, CLOCK_MEMORY),
            .memory_clock_max_mhz = read_one(nvml.max_clock, handle, CLOCK_MEMORY),
            .temperature_c = read_one(nvml.temperature, handle, SENSOR_GPU),
            .power_w = nvml.power && nvml.power(handle, &milliwatts) == SUCCESS
                               ? milliwatts / 1e3
                               : -1,
            .reasons = count(nvml.reasons, handle),
            .energy_mj = count(nvml.energy, handle),
            .used_bytes = nvml.memory && nvml.memory(handle, &memory) == SUCCESS
                                  ? (int64_t)memory.used
                                  : -1,
            .own_bytes = -1,
            .foreign_processes = -1,
            .foreign_bytes = -1,
    };
    find_processes(handle, out);
    return true;
}

/* Asks NVML alone, which knows the device by its address: CUDA is not even initialised,
 * so that asking takes nothing of what is asked about. */
bool cuda_occupancy(const char *bus_id, struct occupancy *out) {
    void *handle;
    struct memory memory;
    struct process list[PROCESSES];
    unsigned listed = PROCESSES;
    if (!is_ready() || nvml.handle(bus_id, &handle) != SUCCESS || !nvml.memory ||
            nvml.memory(handle, &memory) != SUCCESS) {
        return false;
    }
    bool known = nvml.processes && nvml.processes(handle, &listed, list) == SUCCESS;
    *out = (struct occupancy){.total_bytes = (int64_t)memory.total,
            .used_bytes = (int64_t)memory.used,
            .free_bytes = (int64_t)memory.free,
            .processes = known ? (int64_t)listed : -1};
    return true;
}

void cuda_driver_facts(int device, struct device_facts *out) {
    void *handle = is_ready() ? find(device) : NULL;
    if (!handle) {
        return;
    }
    if (!nvml.driver || nvml.driver(out->driver, sizeof out->driver) != SUCCESS) {
        out->driver[0] = '\0';
    }
    int up = -1;
    for (unsigned link = 0; link < LINKS; link++) {
        unsigned active;
        if (nvml.link_state && nvml.link_state(handle, link, &active) == SUCCESS) {
            up = (up < 0 ? 0 : up) + (active != 0);
        }
    }
    out->nvlinks = up;
}

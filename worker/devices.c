#include "worker/devices.h"

#include <stdlib.h>
#include <string.h>
#include <sys/sysinfo.h>

#include "worker/backend.h"
#include "worker/build.h"
#include "worker/measure.h"
#include "worker/setup.h"

#define NAME_SIZE 256 // of a device's name

static int64_t host_bytes(void) {
    struct sysinfo info;
    return sysinfo(&info) == 0 ? (int64_t)info.totalram * info.mem_unit : 0;
}

static void set_integer(json_t *object, const char *name, int64_t value) {
    if (value >= 0) {
        json_object_set_new(object, name, json_integer((json_int_t)value));
    }
}

static void set_number(json_t *object, const char *name, double value) {
    if (value >= 0) {
        json_object_set_new(object, name, json_real(value));
    }
}

/* -- devices -------------------------------------------------------------------- */

static void add_memory(json_t *device, int index, const char *bus_id) {
    const struct kernels *k = backend_kernels();
    struct occupancy o;
    size_t unused, total;
    struct kernel_error why;
    if (k->occupancy && k->occupancy(bus_id, &o)) {
        set_integer(device, "memory_bytes", o.total_bytes);
        set_integer(device, "free_bytes", o.free_bytes);
        set_integer(device, "processes", o.processes);
    } else if (k->device_memory(index, &unused, &total, &why)) {
        // Takes a context: only where nothing else tells.
        set_integer(device, "memory_bytes", (int64_t)total);
        set_integer(device, "free_bytes", (int64_t)unused);
    } else {
        json_object_set_new(device, "error", json_string(why.sentence));
    }
}

static void add_facts(json_t *device, const struct device_facts *f) {
    char capability[32];
    snprintf(capability, sizeof capability, "%d.%d", f->capability / 10,
            f->capability % 10);
    json_object_set_new(device, "bus_id", json_string(f->bus_id));
    json_object_set_new(device, "compute_capability", json_string(capability));
    set_integer(device, "multiprocessors", f->multiprocessors);
    set_integer(device, "l2_bytes", f->l2_bytes);
    if (*f->driver) {
        json_object_set_new(device, "driver", json_string(f->driver));
    }
    set_integer(device, "nvlinks", f->nvlinks);
}

/* The other devices whose memory this one can reach without the host. */
static json_t *peers(int index) {
    const struct kernels *k = backend_kernels();
    json_t *list = json_array();
    for (int i = 0; i < k->device_count(); i++) {
        if (i != index && k->device_reaches(index, i)) {
            json_array_append_new(list, json_integer(i));
        }
    }
    return list;
}

static void describe_gpu(json_t *device, int index) {
    const struct kernels *k = backend_kernels();
    struct device_facts facts;
    struct kernel_error why;
    struct telemetry now;
    if (!k->device_facts(index, &facts, &why)) {
        json_object_set_new(device, "error", json_string(why.sentence));
        return;
    }
    add_facts(device, &facts);
    add_memory(device, index, facts.bus_id);
    if (k->telemetry && k->telemetry(index, &now)) {
        set_number(device, "sm_clock_max_mhz", now.sm_clock_max_mhz);
        set_number(device, "memory_clock_max_mhz", now.memory_clock_max_mhz);
        set_number(device, "temperature_c", now.temperature_c);
    }
    json_object_set_new(device, "peers", peers(index));
}

static json_t *describe(int index) {
    char name[NAME_SIZE] = "";
    backend_kernels()->device_name(index, name, sizeof name);
    json_t *device = json_pack("{s:i, s:s, s:s}", "index", index, "kind",
            backend_on_gpu() ? "cuda" : "cpu", "name", name);
    if (backend_on_gpu()) {
        describe_gpu(device, index);
    } else {
        set_integer(device, "cores", setup_cores());
        set_integer(device, "memory_bytes", host_bytes());
    }
    return device;
}

json_t *devices_list(void) {
    json_t *all = json_array();
    for (int i = 0; i < backend_kernels()->device_count(); i++) {
        json_array_append_new(all, describe(i));
    }
    return json_pack("{s:s, s:s, s:o}", "worker", backend_name(), "build", build_id(),
            "devices", all);
}

/* -- memory --------------------------------------------------------------------- */

static json_t *host_memory(void) {
    int64_t total = host_bytes(), unused = measure_host_free();
    unused = unused < total ? unused : total;
    return json_pack("{s:I, s:I, s:I}", "total_bytes", (json_int_t)total, "used_bytes",
            (json_int_t)(total - unused), "free_bytes", (json_int_t)unused);
}

/* Without figures where nothing tells. */
static json_t *device_memory(const char *bus_id) {
    const struct kernels *k = backend_kernels();
    json_t *device = json_pack("{s:s}", "bus_id", bus_id);
    struct occupancy o;
    if (k->occupancy && k->occupancy(bus_id, &o)) {
        set_integer(device, "total_bytes", o.total_bytes);
        set_integer(device, "used_bytes", o.used_bytes);
        set_integer(device, "free_bytes", o.free_bytes);
        set_integer(device, "processes", o.processes);
    }
    return device;
}

bool devices_tell_memory(FILE *in, FILE *out) {
    char *line = NULL;
    size_t capacity = 0;
    bool good = true;
    while (good && getline(&line, &capacity, in) > 0) {
        json_t *all = json_array();
        char *rest = line, *word;
        if (!backend_on_gpu()) {
            json_array_append_new(all, host_memory());
        }
        while (backend_on_gpu() && (word = strsep(&rest, " \n"))) {
            if (*word) {
                json_array_append_new(all, device_memory(word));
            }
        }
        json_t *answer = json_pack("{s:o}", "devices", all);
        good = answer && json_dumpf(answer, out, JSON_COMPACT) == 0 &&
               fputc('\n', out) != EOF && fflush(out) == 0;
        json_decref(answer);
    }
    free(line);
    return good;
}

#include "runner/devices.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "runner/build.h"
#include "runner/filter.h"
#include "runner/machine.h"
#include "runner/workers.h"

#define PATIENCE_MS 30000 /* a driver that hangs is not waited for */

static json_t *worker_json(const char *path, bool there) {
    struct text build = {0}, ignored = {0};
    char *argv[] = {(char *)path, NULL};
    if (there) {
        build_identify(argv, &build, &ignored);
    }
    json_t *o = json_pack("{s:s, s:b, s:s}", "path", path, "present", there, "build",
            text_get(&build));
    text_finish(&build);
    text_finish(&ignored);
    return o;
}

/* What worker-cuda tells of each GPU, in PCI order; NULL where there is nobody to ask.
 */
static json_t *ask_gpus(
        const struct machine *m, const struct workers *w, struct text *err) {
    char *argv[] = {w->cuda, "devices", NULL};
    struct text in = {0}, out = {0};
    json_t *answer = NULL;
    if (w->has_cuda && m->gpu_count > 0 &&
            filter_run(argv, &in, &out, PATIENCE_MS, err)) {
        answer = json_loads(text_get(&out), 0, NULL);
    }
    json_t *devices = json_incref(json_object_get(answer, "devices"));
    json_decref(answer);
    text_finish(&in);
    text_finish(&out);
    return devices;
}

/* Of them the one that is GPU `number` here; NULL where it is not told of. */
static json_t *told_of(json_t *devices, const struct machine *m, int number) {
    size_t i;
    json_t *device;
    json_array_foreach(devices, i, device) {
        const char *bus_id = json_string_value(json_object_get(device, "bus_id"));
        if (bus_id && !strcasecmp(bus_id, m->gpu_bus_ids[number])) {
            return device;
        }
    }
    return NULL;
}

static json_t *gpu_json(const struct machine *m, json_t *devices, int number) {
    json_t *gpu = json_pack("{s:i, s:s, s:s}", "number", number, "model",
            m->gpus[number], "bus_id", m->gpu_bus_ids[number]);
    const char *key;
    json_t *value;
    json_object_foreach(told_of(devices, m, number), key, value) {
        // Its own index is of what CUDA_VISIBLE_DEVICES leaves, in CUDA's order.
        if (strcmp(key, "index") != 0 && !json_object_get(gpu, key)) {
            json_object_set(gpu, key, value);
        }
    }
    return gpu;
}

static void print_json(
        const struct machine *m, const struct workers *w, json_t *devices, FILE *out) {
    json_t *gpus = json_array();
    for (int i = 0; i < m->gpu_count; i++) {
        json_array_append_new(gpus, gpu_json(m, devices, i));
    }
    json_t *root = json_pack("{s:s, s:s, s:i, s:I, s:s, s:o, s:o, s:o}", "host",
            m->host, "cpu", m->cpu, "cores", m->cores, "memory_bytes",
            (json_int_t)m->memory_bytes, "kernel", m->kernel, "gpus", gpus,
            "worker_cpu", worker_json(w->cpu, w->has_cpu), "worker_cuda",
            worker_json(w->cuda, w->has_cuda));
    json_dumpf(root, out, JSON_INDENT(1));
    fputc('\n', out);
    json_decref(root);
}

/* "key: value" of a device, where it is told. */
static void print_number(
        json_t *device, const char *key, double unit, const char *format, FILE *out) {
    json_t *value = json_object_get(device, key);
    if (json_is_number(value)) {
        fputs(", ", out);
        fprintf(out, format, json_number_value(value) / unit);
    }
}

static void print_word(json_t *device, const char *key, const char *before, FILE *out) {
    const char *value = json_string_value(json_object_get(device, key));
    if (value) {
        fprintf(out, ", %s%s", before, value);
    }
}

static void print_gpu(json_t *device, FILE *out) {
    print_number(device, "memory_bytes", 1 << 30, "%.1f GiB", out);
    print_number(device, "free_bytes", 1 << 30, "%.1f GiB free", out);
    print_number(device, "processes", 1, "%.0f processes on it", out);
    print_word(device, "compute_capability", "compute capability ", out);
    print_number(device, "multiprocessors", 1, "%.0f multiprocessors", out);
    print_number(device, "l2_bytes", 1 << 20, "%.0f MiB L2", out);
    print_number(device, "sm_clock_max_mhz", 1, "up to %.0f MHz", out);
    print_number(device, "memory_clock_max_mhz", 1, "memory %.0f MHz", out);
    print_number(device, "nvlinks", 1, "%.0f NVLinks up", out);
    print_word(device, "driver", "driver ", out);
    print_word(device, "error", "", out);
    json_t *peers = json_object_get(device, "peers"), *peer;
    size_t i;
    json_array_foreach(peers, i, peer) {
        fprintf(out, "%s%lld", i ? " " : ", reaches ",
                (long long)json_integer_value(peer));
    }
}

static void print_text(
        const struct machine *m, const struct workers *w, json_t *devices, FILE *out) {
    fprintf(out, "cpu   %s, %d cores, %.1f GiB, served by %s%s\n", m->cpu, m->cores,
            (double)m->memory_bytes / (1 << 30), w->cpu,
            w->has_cpu ? "" : " (not built here)");
    for (int i = 0; i < m->gpu_count; i++) {
        fprintf(out, "gpu %d %s, served by %s%s", i, m->gpus[i], w->cuda,
                w->has_cuda ? "" : " (not built here)");
        print_gpu(told_of(devices, m, i), out);
        fputc('\n', out);
    }
    if (m->gpu_count == 0) {
        fprintf(out, "gpu   none found\n");
    }
    fprintf(out, "host  %s, %s\n", m->host, m->kernel);
}

int devices_command(const struct options *o, FILE *out, struct text *err) {
    struct machine m;
    struct workers w;
    if (!workers_init(&w, err)) {
        return 1;
    }
    machine_init(&m);
    // Numbers of peers are then those of the machine.
    setenv("CUDA_DEVICE_ORDER", "PCI_BUS_ID", 1);
    json_t *devices = ask_gpus(&m, &w, err);
    if (o->json) {
        print_json(&m, &w, devices, out);
    } else {
        print_text(&m, &w, devices, out);
    }
    json_decref(devices);
    machine_finish(&m);
    workers_finish(&w);
    return 0;
}

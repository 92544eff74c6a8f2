#include "runner/devices.h"

#include <jansson.h>

#include "runner/build.h"
#include "runner/machine.h"
#include "runner/workers.h"

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

static void print_json(const struct machine *m, const struct workers *w, FILE *out) {
    json_t *gpus = json_array();
    for (int i = 0; i < m->gpu_count; i++) {
        json_array_append_new(
                gpus, json_pack("{s:i, s:s}", "number", i, "model", m->gpus[i]));
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

static void print_text(const struct machine *m, const struct workers *w, FILE *out) {
    fprintf(out, "cpu   %s, %d cores, %.1f GiB, served by %s%s\n", m->cpu, m->cores,
            (double)m->memory_bytes / (1 << 30), w->cpu,
            w->has_cpu ? "" : " (not built here)");
    for (int i = 0; i < m->gpu_count; i++) {
        fprintf(out, "gpu %d %s, served by %s%s\n", i, m->gpus[i], w->cuda,
                w->has_cuda ? "" : " (not built here)");
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
    if (o->json) {
        print_json(&m, &w, out);
    } else {
        print_text(&m, &w, out);
    }
    machine_finish(&m);
    workers_finish(&w);
    return 0;
}

#include "tests/checkkernels/device.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

// The last run is the captured one.
const unsigned char device_poison[DEVICE_RUNS] = {0xff, 0x7b, 0x3f};

// -- memory
// ----------------------------------------------------------------------------

bool device_open(struct device *d, const struct kernels *table, bool apart,
        size_t bytes, struct kernel_error *err) {
    size_t available = bytes, total = 0;
    void *memory = NULL;
    *d = (struct device){.table = table, .apart = apart};
    if (apart) {
        return true;
    }
    if (table->device_memory && !table->device_memory(0, &available, &total, err)) {
        return false;
    }
    // A tenth stays for what the libraries and the tuning of products take.
    available -= available / 10;
    bytes = bytes < available ? bytes : available;
    if (!table->allocate(0, MEMORY_DEVICE, bytes, &memory, err)) {
        return false;
    }
    d->memory = memory;
    d->bytes = bytes;
    return true;
}

void device_reset(struct device *d) {
    d->used = 0;
    while (d->block_count > 0) {
        d->block_count--;
        d->table->release(0, MEMORY_DEVICE, d->blocks[d->block_count],
                d->block_bytes[d->block_count]);
    }
}

void device_close(struct device *d) {
    device_reset(d);
    if (d->memory) {
        d->table->release(0, MEMORY_DEVICE, d->memory, d->bytes);
    }
    *d = (struct device){0};
}

static bool tensor_apart(
        struct device *d, size_t shift, struct tensor *out, struct kernel_error *err) {
    void *block;
    size_t bytes = tensor_bytes(out) + shift;
    if (d->block_count == BLOCKS_MAX) {
        return kernel_fail(err, KERNEL_OUT_OF_MEMORY, "too many tensors at a time");
    }
    if (!d->table->allocate(0, MEMORY_DEVICE, bytes, &block, err)) {
        return false;
    }
    d->blocks[d->block_count] = block;
    d->block_bytes[d->block_count++] = bytes;
    out->data = (unsigned char *)block + shift;
    return true;
}

bool device_tensor(struct device *d, const struct tensor *like, bool aligned,
        unsigned char poison, struct tensor *out, struct kernel_error *err) {
    size_t shift = aligned ? 0 : 16, bytes = tensor_bytes(like);
    *out = *like;
    if (d->apart) {
        return tensor_apart(d, shift, out, err);
    }
    size_t start = (d->used + 255) / 256 * 256, end = start + bytes + 2 * ZONE + shift;
    if (end > d->bytes) {
        return kernel_fail(err, KERNEL_OUT_OF_DEVICE_MEMORY,
                "needs over %.1f GB of the device's memory", (double)end * 1e-9);
    }
    unsigned char *base = d->memory + start;
    d->used = end;
    out->data = base + ZONE + shift;
    return d->table->fill(d->stream, base, ZONE_BYTE, ZONE + shift, err) &&
           d->table->fill(d->stream, out->data, poison, bytes, err) &&
           d->table->fill(d->stream, base + ZONE + shift + bytes, ZONE_BYTE, ZONE, err);
}

bool device_upload(struct device *d, const struct tensor *to, const struct tensor *from,
        struct kernel_error *err) {
    return d->table->copy(
            d->stream, COPY_TO_DEVICE, to->data, from->data, tensor_bytes(from), err);
}

bool device_download(struct device *d, const struct tensor *to,
        const struct tensor *from, struct kernel_error *err) {
    return d->table->copy(d->stream, COPY_TO_HOST, to->data, from->data,
                   tensor_bytes(from), err) &&
           d->table->stream_synchronize(d->stream, err);
}

bool device_zones(struct device *d, const struct tensor *t, bool *clean,
        struct kernel_error *err) {
    unsigned char zones[2][ZONE];
    *clean = true;
    if (d->apart) {
        return true;
    }
    unsigned char *data = t->data;
    if (!d->table->copy(d->stream, COPY_TO_HOST, zones[0], data - ZONE, ZONE, err) ||
            !d->table->copy(d->stream, COPY_TO_HOST, zones[1], data + tensor_bytes(t),
                    ZONE, err) ||
            !d->table->stream_synchronize(d->stream, err)) {
        return false;
    }
    for (int i = 0; i < ZONE; i++) {
        *clean = *clean && zones[0][i] == ZONE_BYTE && zones[1][i] == ZONE_BYTE;
    }
    return true;
}

// -- running
// ---------------------------------------------------------------------------

static bool run_captured(struct device *d, device_call_fn call, void *context,
        struct kernel_error *err) {
    struct kernel_error ignored;
    struct graph *graph = NULL;
    if (!d->table->graph_begin(d->stream, err)) {
        return false;
    }
    if (!call(context, d->stream, err)) {
        // A stream must leave its capture, whatever became of it.
        if (d->table->graph_end(d->stream, &graph, &ignored)) {
            d->table->graph_destroy(graph);
        }
        return false;
    }
    if (!d->table->graph_end(d->stream, &graph, err)) {
        return false;
    }
    bool ok = d->table->graph_launch(d->stream, graph, err) &&
              d->table->stream_synchronize(d->stream, err);
    d->table->graph_destroy(graph);
    return ok;
}

bool device_run(struct device *d, bool captured, device_call_fn call, void *context,
        struct kernel_error *err) {
    if (captured && d->table->graph_begin) {
        return run_captured(d, call, context, err);
    }
    return call(context, d->stream, err) &&
           d->table->stream_synchronize(d->stream, err);
}

void device_failed(struct check *check, const struct check_case *c,
        const struct kernel_error *err) {
    struct kernel_error after = {0};
    if (err->kind == KERNEL_UNSUPPORTED) {
        check_skip(check, c, err->sentence);
    } else {
        check_fail(check, c, "%s", err->sentence);
    }
    if (!check->device->table->stream_synchronize(check->device->stream, &after)) {
        check_fail(check, c, "and the device is lost: %s", after.sentence);
        check->lost = true;
    }
}

// -- checking
// --------------------------------------------------------------------------

void device_norm(struct check *check, const struct check_case *c, const char *name,
        const struct tensor *got, const struct tensor *want) {
    int64_t count = tensor_count(got);
    // Rounding alone may put one bf16 off by 2^-8; only many average that out.
    double limit = got->type == DTYPE_BF16                 ? count < 16 ? 4e-3 : 3e-3
                   : got->type == DTYPE_F16 || check->tf32 ? 1e-3
                                                           : 1e-5;
    double off = 0, size = 0;
    for (int64_t i = 0; i < count; i++) {
        double g = check_get(got, i), w = check_get(want, i);
        off += g == w ? 0 : (g - w) * (g - w); // infinities that agree
        size += isinf(w) ? 0 : w * w;
    }
    // Near nothing only steps count: of the type, or of the sums that cancelled.
    double step =
            (got->type == DTYPE_F16 ? 0x1p-25 : 0x1p-126) + fmin(c->absolute, 1e-6);
    double allowed = fmax(limit * sqrt(size), step * sqrt((double)count));
    if (!(sqrt(off) <= allowed)) {
        check_fail(check, c, "%s is off by a share of %.3g, allowed %.3g", name,
                sqrt(off / size), allowed / sqrt(size));
    }
}

struct case_call {
    const struct check_case *c;
    const struct kernels *table;
    struct tensor *tensors;
};

static bool call_case(void *context, struct stream *stream, struct kernel_error *err) {
    struct case_call *call = context;
    return call->c->call(call->c, call->table, stream, call->tensors, err);
}

// The case's operands on the device as they are before a run.
static bool place(struct device *d, const struct check_case *c,
        const struct tensor *inputs, unsigned char poison, struct tensor *t,
        struct kernel_error *err) {
    device_reset(d);
    for (int i = 0; i < c->count; i++) {
        const struct operand *o = &c->operands[i];
        struct tensor like = {.type = o->type};
        while (like.rank < TENSOR_RANK_MAX && o->size[like.rank]) {
            like.size[like.rank] = o->size[like.rank];
            like.rank++;
        }
        if (o->role == ROLE_SCRATCH) {
            like.size[0] = (int64_t)c->scratch(c, d->table, i);
            like.size[0] = like.size[0] ? like.size[0] : 1;
        }
        if (!device_tensor(d, &like, o->role == ROLE_SCRATCH, poison, &t[i], err) ||
                (inputs[i].data && !device_upload(d, &t[i], &inputs[i], err))) {
            return false;
        }
    }
    return true;
}

// After a run: outputs into `got`, and whether all else is as it was.
static bool collect(struct check *check, const struct check_case *c,
        const struct tensor *inputs, const struct tensor *t, struct tensor *got,
        struct kernel_error *err) {
    struct device *d = check->device;
    for (int i = 0; i < c->count; i++) {
        bool clean;
        if (!device_zones(d, &t[i], &clean, err)) {
            return false;
        }
        if (!clean) {
            check_fail(check, c, "wrote outside operand %d", i);
        }
        if (c->operands[i].role == ROLE_SCRATCH) {
            continue;
        }
        if (!device_download(d, &got[i], &t[i], err)) {
            return false;
        }
        if (!check_writes(c, i) &&
                memcmp(got[i].data, inputs[i].data, tensor_bytes(&t[i])) != 0) {
            check_fail(check, c, "changed operand %d, an input", i);
        }
    }
    return true;
}

static void check_outputs(struct check *check, const struct check_case *c, int run,
        const struct tensor *first, const struct tensor *got,
        const struct tensor *truth) {
    static const char *const names[] = {
            "out 0", "out 1", "out 2", "out 3", "out 4", "out 5"};
    for (int i = 0; i < c->count; i++) {
        if (!check_writes(c, i)) {
            continue;
        }
        if (run == 0) {
            check_compare(check, c, i, &got[i], &truth[i]);
            device_norm(check, c, i < 6 ? names[i] : "out", &got[i], &truth[i]);
        } else if (memcmp(first[i].data, got[i].data, tensor_bytes(&got[i])) != 0) {
            check_fail(check, c, "operand %d has other bits %s", i,
                    run == DEVICE_RUNS - 1 ? "from a graph" : "on other garbage");
        }
    }
}

// Every run of the case, on the algorithms that the stream has by now.
static bool check_runs(struct check *check, const struct check_case *c,
        const struct tensor *inputs, const struct tensor *truth,
        struct tensor (*got)[OPERANDS_MAX], struct kernel_error *err) {
    struct device *d = check->device;
    struct tensor t[OPERANDS_MAX];
    struct case_call call = {c, d->table, t};
    for (int run = 0; run < DEVICE_RUNS; run++) {
        if (!place(d, c, inputs, device_poison[run], t, err) ||
                !device_run(d, run == DEVICE_RUNS - 1, call_case, &call, err) ||
                !collect(check, c, inputs, t, got[run > 0], err)) {
            return false;
        }
        check_outputs(check, c, run, got[0], got[run > 0], truth);
    }
    return true;
}

void device_check(struct check *check, const struct check_case *c,
        const struct tensor *inputs, const struct tensor *truth) {
    struct device *d = check->device;
    struct tensor got[2][OPERANDS_MAX] = {0};
    struct kernel_error err = {0};
    bool tuned = c->tune && d->table->matmul_tune && !check->quick;
    check->fast = d->table;
    for (int i = 0; i < c->count; i++) {
        for (int j = 0; j < 2 && c->operands[i].role != ROLE_SCRATCH; j++) {
            got[j][i] = check_tensor(&c->operands[i], c->operands[i].type, false);
        }
    }
    if (!check_runs(check, c, inputs, truth, got, &err) ||
            (tuned && (!d->table->matmul_tune(d->stream, c->tune, &err) ||
                              !check_runs(check, c, inputs, truth, got, &err)))) {
        device_failed(check, c, &err);
    }
    for (int i = 0; i < c->count; i++) {
        for (int j = 0; j < 2 && got[j][i].data; j++) {
            check_free(&got[j][i]);
        }
    }
}

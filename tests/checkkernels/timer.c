#include "tests/checkkernels/timer.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { REPEATS_MAX = 15 };

struct replay {
    const struct kernels *table;
    struct stream *stream;
    struct graph *graph; /* NULL where the device has none: calls are queued anew */
    timer_call_fn call;
    void *context;
    int calls;
};

static bool queue_calls(const struct replay *r, struct kernel_error *err) {
    for (int i = 0; i < r->calls; i++) {
        if (!r->call(r->context, i, r->stream, err)) {
            return false;
        }
    }
    return true;
}

static bool record(struct replay *r, struct kernel_error *err) {
    struct kernel_error ignored;
    if (!r->table->graph_begin) {
        return true;
    }
    if (!r->table->graph_begin(r->stream, err)) {
        return false;
    }
    if (!queue_calls(r, err)) {
        // A stream must leave its capture, whatever became of it.
        if (r->table->graph_end(r->stream, &r->graph, &ignored)) {
            r->table->graph_destroy(r->graph);
        }
        r->graph = NULL;
        return false;
    }
    return r->table->graph_end(r->stream, &r->graph, err);
}

static bool replay_once(const struct replay *r, struct device_event *from,
        struct device_event *to, double *ms, struct kernel_error *err) {
    const struct kernels *k = r->table;
    return k->event_record(r->stream, from, err) &&
           (r->graph ? k->graph_launch(r->stream, r->graph, err)
                     : queue_calls(r, err)) &&
           k->event_record(r->stream, to, err) &&
           k->stream_synchronize(r->stream, err) &&
           k->event_elapsed_ms(from, to, ms, err);
}

static int ascending(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

bool timer_replay(const struct kernels *table, struct stream *stream, int calls,
        int repeats, timer_call_fn call, void *context, double *seconds,
        struct kernel_error *err) {
    struct replay r = {.table = table,
            .stream = stream,
            .call = call,
            .context = context,
            .calls = calls};
    struct device_event *from = NULL, *to = NULL;
    double ms[REPEATS_MAX] = {0}, warm;
    repeats = repeats < REPEATS_MAX ? repeats : REPEATS_MAX;
    bool ok = table->event_create(stream, &from, err) &&
              table->event_create(stream, &to, err) && record(&r, err) &&
              (!r.graph || replay_once(&r, from, to, &warm, err));
    for (int i = 0; ok && i < repeats; i++) {
        ok = replay_once(&r, from, to, &ms[i], err);
    }
    qsort(ms, (size_t)repeats, sizeof *ms, ascending);
    *seconds = ms[repeats / 2] * 1e-3 / calls;
    if (r.graph) {
        table->graph_destroy(r.graph);
    }
    if (to) {
        table->event_destroy(to);
    }
    if (from) {
        table->event_destroy(from);
    }
    return ok;
}

bool timer_median(const struct kernels *table, struct stream *stream, int sets,
        timer_call_fn call, void *context, double *seconds, struct kernel_error *err) {
    const double replay_s = 2e-3;
    struct timespec from, to;
    // The first call loads code and chooses algorithms; the second one is measured.
    if (!call(context, 0, stream, err) || !table->stream_synchronize(stream, err)) {
        return false;
    }
    clock_gettime(CLOCK_MONOTONIC, &from);
    if (!call(context, 1, stream, err) || !table->stream_synchronize(stream, err)) {
        return false;
    }
    clock_gettime(CLOCK_MONOTONIC, &to);
    double once = (double)(to.tv_sec - from.tv_sec) +
                  1e-9 * (double)(to.tv_nsec - from.tv_nsec);
    double calls = fmin(200, fmax(sets, ceil(replay_s / fmax(once, 1e-6))));
    if (once > 0.25) { // what was measured by the clock is good to a thousandth
        *seconds = once;
        return true;
    }
    // A long call is its own warm-up, and cools the cache by itself.
    calls = once > 0.02 ? 1 : calls;
    int repeats = once > 0.1 ? 1 : once > 0.02 ? 3 : 9;
    return timer_replay(
            table, stream, (int)calls, repeats, call, context, seconds, err);
}

int timer_sets(size_t bytes) {
    enum { SETS_MAX = 32 };
    size_t sets = (TIMER_CACHE + bytes - 1) / (bytes ? bytes : 1);
    return sets < 1 ? 1 : sets > SETS_MAX ? SETS_MAX : (int)sets;
}

bool timer_tensor(struct device *d, struct stream *stream, const struct operand *o,
        uint64_t seed, struct tensor *out, struct kernel_error *err) {
    enum { PATTERN = 100003 }; // no multiple of a row: equal rows would be too easy
    struct tensor like = {.type = o->type};
    while (like.rank < TENSOR_RANK_MAX && o->size[like.rank]) {
        like.size[like.rank] = o->size[like.rank];
        like.rank++;
    }
    struct operand few = *o;
    int64_t count = tensor_count(&like);
    few.size[0] = count < PATTERN ? count : PATTERN;
    few.size[1] = 0;
    // Aligned as a model's tensors are.
    if (!device_tensor(d, &like, true, 0, out, err)) {
        return false;
    }
    if (o->role == ROLE_OUT || o->role == ROLE_SCRATCH) {
        return true;
    }
    struct tensor pattern = check_tensor(&few, o->type, false);
    check_fill(&pattern, &few, seed);
    size_t filled = tensor_bytes(&pattern), bytes = tensor_bytes(&like);
    bool ok = d->table->copy(
                      stream, COPY_TO_DEVICE, out->data, pattern.data, filled, err) &&
              d->table->stream_synchronize(stream, err);
    while (ok && filled < bytes) {
        size_t more = bytes - filled < filled ? bytes - filled : filled;
        ok = d->table->copy(stream, COPY_ON_DEVICE, (unsigned char *)out->data + filled,
                out->data, more, err);
        filled += more;
    }
    check_free(&pattern);
    return ok;
}

void timer_head(void) {
    printf("%-23s %-30s %-5s %10s %8s %8s %10s %6s %10s\n", "op", "shape", "type", "us",
            "GB/s", "TFLOP/s", "floor us", "floor", "untuned us");
}

void timer_line(const struct check *check, const char *op, const char *shape,
        enum dtype type, double seconds, double flops, double bytes, double untuned_s) {
    double floor_s = fmax(flops / check->peak_flops, bytes / check->peak_bytes);
    printf("%-23s %-30s %-5s %10.2f %8.0f %8.1f %10.2f %5.0f%%", op, shape,
            dtype_name(type), seconds * 1e6, bytes / seconds * 1e-9,
            flops / seconds * 1e-12, floor_s * 1e6, 100 * floor_s / seconds);
    if (untuned_s > 0) {
        printf(" %10.2f", untuned_s * 1e6);
    }
    printf("\n");
}

// -- a case
// ----------------------------------------------------------------------------

enum { SETS_MAX = 32 };

struct rotation {
    const struct check_case *c;
    const struct kernels *table;
    struct tensor t[SETS_MAX][OPERANDS_MAX];
    int sets;
};

static bool call_set(
        void *context, int round, struct stream *stream, struct kernel_error *err) {
    struct rotation *r = context;
    return r->c->call(r->c, r->table, stream, r->t[round % r->sets], err);
}

// Filled, or a copy of the `first` set's.
static bool place_operand(struct device *d, const struct operand *o, uint64_t seed,
        const struct tensor *first, struct tensor *out, struct kernel_error *err) {
    if (!first) {
        return timer_tensor(d, d->stream, o, seed, out, err);
    }
    return device_tensor(d, first, true, 0, out, err) &&
           d->table->copy(d->stream, COPY_ON_DEVICE, out->data, first->data,
                   tensor_bytes(out), err);
}

// All sets on the device; one scratch serves them all.
static bool place_sets(struct device *d, struct rotation *r, struct kernel_error *err) {
    const struct check_case *c = r->c;
    device_reset(d);
    for (int s = 0; s < r->sets; s++) {
        for (int i = 0; i < c->count; i++) {
            struct operand o = c->operands[i];
            if (o.role == ROLE_SCRATCH && s > 0) {
                r->t[s][i] = r->t[0][i];
                continue;
            }
            if (o.role == ROLE_SCRATCH) {
                o.size[0] = (int64_t)c->scratch(c, d->table, i);
                o.size[0] = o.size[0] ? o.size[0] : 1;
            }
            struct tensor *first = s > 0 ? &r->t[0][i] : NULL;
            if (!place_operand(d, &o, (uint64_t)i + 1, first, &r->t[s][i], err)) {
                return false;
            }
        }
    }
    return d->table->stream_synchronize(d->stream, err);
}

// The library's own choice of algorithm, on a stream that has not been tuned.
static bool time_untuned(struct device *d, struct rotation *r, double *seconds,
        struct kernel_error *err) {
    struct stream_options options = {.threads = 1};
    struct stream *plain;
    if (!d->table->stream_create(&options, &plain, err)) {
        return false;
    }
    bool ok = timer_median(d->table, plain, r->sets, call_set, r, seconds, err);
    d->table->stream_destroy(plain);
    return ok;
}

static size_t set_bytes(const struct check_case *c) {
    size_t bytes = 0;
    for (int i = 0; i < c->count; i++) {
        struct tensor t = {.type = c->operands[i].type};
        while (t.rank < TENSOR_RANK_MAX && c->operands[i].size[t.rank]) {
            t.size[t.rank] = c->operands[i].size[t.rank];
            t.rank++;
        }
        bytes += c->operands[i].role == ROLE_SCRATCH ? 0 : tensor_bytes(&t);
    }
    return bytes;
}

void device_bench(struct check *check, const struct check_case *c) {
    struct device *d = check->device;
    struct rotation r = {.c = c, .table = d->table, .sets = timer_sets(set_bytes(c))};
    struct kernel_error err = {0};
    double seconds, untuned = 0;
    bool tuned = c->tune && d->table->matmul_tune;
    check->fast = d->table;
    if (place_sets(d, &r, &err) && (!tuned || time_untuned(d, &r, &untuned, &err)) &&
            (!tuned || d->table->matmul_tune(d->stream, c->tune, &err)) &&
            timer_median(d->table, d->stream, r.sets, call_set, &r, &seconds, &err)) {
        timer_line(
                check, c->op, c->shape, c->type, seconds, c->flops, c->bytes, untuned);
    } else if (err.kind == KERNEL_OUT_OF_DEVICE_MEMORY) {
        check_skip(check, c, err.sentence);
    } else {
        device_failed(check, c, &err);
    }
    check->cases++;
}

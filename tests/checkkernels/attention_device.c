// Attention on a device with memory of its own.
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/checkkernels/attention.h"
#include "tests/checkkernels/timer.h"

static const char *const names[] = {"naive", "fused", "flash", "cudnn"};
enum { NAMES = sizeof(names) / sizeof(*names) };

static bool is_wanted(const char *op, const char *name) {
    return !op || strcmp(op, name) == 0 || strcmp(op, "attention") == 0;
}

void attention_device_absent(struct check *check, const char *wanted) {
    for (int n = 0; n < NAMES; n++) {
        if (is_wanted(wanted, names[n]) && !check->device->table->attention(names[n])) {
            check->skipped++;
            printf("skipped: %s: the table '%s' has no attention of that name\n",
                    names[n], check->device->table->name);
        }
    }
}

// One kernel with its operands on the device.
struct placed {
    const struct attention_kernel *kernel;
    const struct attention_shape *shape;
    struct tensor qkv, dout, out, dqkv, saved, room, back;
    bool forward, backward, keep;
};

static bool call_kernel(
        void *context, struct stream *stream, struct kernel_error *err) {
    struct placed *p = context;
    struct tensor none = {0};
    if (p->forward && !p->kernel->forward(stream, &p->out, p->keep ? &p->saved : &none,
                              &p->room, &p->qkv, p->shape, err)) {
        return false;
    }
    return !p->backward || p->kernel->backward(stream, &p->dqkv, &p->back, &p->dout,
                                   &p->out, &p->qkv, &p->saved, p->shape, err);
}

static struct tensor block(size_t bytes) {
    return (struct tensor){
            .type = DTYPE_U8, .rank = 1, .size = {bytes ? (int64_t)bytes : 1}};
}

static struct tensor typed(const struct tensor *like, enum dtype type) {
    struct tensor t = *like;
    t.type = type;
    return t;
}

static bool place(struct device *d, const struct attention_run *r, enum dtype type,
        const struct attention_memory *memory, unsigned char poison, struct placed *p,
        struct kernel_error *err) {
    struct tensor saved = block(memory->saved), room = block(memory->forward_scratch);
    struct tensor back = block(memory->backward_scratch);
    struct tensor out = typed(&r->out, type), dqkv = typed(&r->dqkv, type);
    device_reset(d);
    return device_tensor(d, &r->qkv, false, poison, &p->qkv, err) &&
           device_tensor(d, &r->dout, false, poison, &p->dout, err) &&
           device_tensor(d, &out, false, poison, &p->out, err) &&
           device_tensor(d, &dqkv, false, poison, &p->dqkv, err) &&
           device_tensor(d, &saved, true, poison, &p->saved, err) &&
           device_tensor(d, &room, true, poison, &p->room, err) &&
           device_tensor(d, &back, true, poison, &p->back, err) &&
           device_upload(d, &p->qkv, &r->qkv, err) &&
           device_upload(d, &p->dout, &r->dout, err);
}

static bool check_surroundings(struct check *check, const struct check_case *c,
        const struct placed *p, struct kernel_error *err) {
    static const char *const what[] = {
            "qkv", "dout", "out", "dqkv", "saved", "scratch", "backward's scratch"};
    const struct tensor *all[] = {
            &p->qkv, &p->dout, &p->out, &p->dqkv, &p->saved, &p->room, &p->back};
    for (size_t i = 0; i < sizeof(all) / sizeof(*all); i++) {
        bool clean;
        if (!device_zones(check->device, all[i], &clean, err)) {
            return false;
        }
        if (!clean) {
            check_fail(check, c, "wrote outside %s", what[i]);
        }
    }
    return true;
}

static bool check_input(struct check *check, const struct check_case *c,
        const char *what, const struct tensor *placed, const struct tensor *before,
        struct kernel_error *err) {
    struct operand o = {.size = {(int64_t)tensor_bytes(before)}};
    struct tensor after = check_tensor(&o, DTYPE_U8, false);
    bool ok = device_download(check->device, &after, placed, err);
    if (ok && memcmp(after.data, before->data, tensor_bytes(before)) != 0) {
        check_fail(check, c, "changed %s, an input", what);
    }
    check_free(&after);
    return ok;
}

// Runs once: forward and backward, or forward alone where not `keep`.
static bool run_once(struct check *check, const struct check_case *c, int run,
        bool keep, const struct attention_memory *memory, struct attention_run *got,
        struct kernel_error *err) {
    struct device *d = check->device;
    struct placed p = {.kernel = d->table->attention(c->op),
            .shape = &got->shape,
            .forward = true,
            .backward = keep,
            .keep = keep};
    return place(d, got, c->type, memory, device_poison[run], &p, err) &&
           device_run(d, run == DEVICE_RUNS - 1, call_kernel, &p, err) &&
           check_surroundings(check, c, &p, err) &&
           check_input(check, c, "qkv", &p.qkv, &got->qkv, err) &&
           check_input(check, c, "dout", &p.dout, &got->dout, err) &&
           device_download(d, &got->out, &p.out, err) &&
           (!keep || device_download(d, &got->dqkv, &p.dqkv, err));
}

static bool same_bits(const struct tensor *a, const struct tensor *b) {
    return memcmp(a->data, b->data, tensor_bytes(a)) == 0;
}

// Near the truth however backward is cut: into as many slices as it can be, and, of
// three sequences or more, into two at a time, of which the last may be alone.
static bool check_sliced(struct check *check, const struct check_case *c,
        const struct attention_run *truth, const struct attention_run *plain,
        struct attention_run *got, struct kernel_error *err) {
    const struct attention_kernel *kernel = check->device->table->attention(c->op);
    const struct attention_shape *s = &truth->shape;
    const int64_t limits[] = {
            1, 2 * s->heads * s->seq_len * s->seq_len * (int64_t)dtype_size(c->type)};
    bool ok = true;
    for (int i = 0; ok && i < (s->batch > 2 ? 2 : 1); i++) {
        struct attention_memory memory;
        char bytes[32];
        snprintf(bytes, sizeof(bytes), "%lld", (long long)limits[i]);
        setenv("LM_CUDNN_SLICE_BYTES", bytes, 1);
        ok = kernel->plan(s, c->type, check->threads, &memory, err) &&
             run_once(check, c, 1, true, &memory, got, err);
        unsetenv("LM_CUDNN_SLICE_BYTES");
        if (ok) {
            attention_judge(check, c, got, truth, plain);
        }
    }
    return ok;
}

// Near the truth; the same bits again, on other garbage and from a graph; and forward
// where no backward is to come.
static void check_kernel(struct check *check, const struct check_case *c,
        const struct attention_run *truth, const struct attention_run *plain) {
    const struct attention_kernel *kernel = check->device->table->attention(c->op);
    struct attention_run first = attention_open(truth, c->type);
    struct attention_run again = attention_open(truth, c->type);
    struct attention_memory memory;
    struct kernel_error err = {0};
    bool ok = kernel->plan(&truth->shape, c->type, check->threads, &memory, &err) &&
              run_once(check, c, 0, true, &memory, &first, &err);
    if (ok) {
        attention_judge(check, c, &first, truth, plain);
    }
    for (int run = 1; ok && run < DEVICE_RUNS; run++) {
        ok = run_once(check, c, run, true, &memory, &again, &err);
        if (ok && (!same_bits(&first.out, &again.out) ||
                          !same_bits(&first.dqkv, &again.dqkv))) {
            check_fail(check, c, "has other bits %s",
                    run == DEVICE_RUNS - 1 ? "from a graph" : "on other garbage");
        }
    }
    ok = ok && run_once(check, c, 0, false, &memory, &again, &err);
    if (ok && !same_bits(&first.out, &again.out)) {
        check_fail(check, c, "forward differs where no backward is to come");
    }
    if (ok && strcmp(c->op, "cudnn") == 0) {
        ok = check_sliced(check, c, truth, plain, &again, &err);
    }
    // Where the order of sums is left free, the bits are, but not the accuracy.
    again.shape.deterministic = false;
    ok = ok && kernel->plan(&again.shape, c->type, check->threads, &memory, &err) &&
         run_once(check, c, 0, true, &memory, &again, &err);
    if (ok) {
        attention_judge(check, c, &again, truth, plain);
    }
    if (!ok) {
        device_failed(check, c, &err);
    }
    check->cases += ok || err.kind != KERNEL_UNSUPPORTED;
    attention_close(&first);
    attention_close(&again);
}

void attention_device(struct check *check, const char *wanted, struct check_case *c,
        const struct attention_run *truth, const struct attention_run *plain) {
    check->fast = check->device->table;
    for (int n = 0; n < NAMES && !check->lost; n++) {
        c->op = names[n];
        if (is_wanted(wanted, names[n]) && check->fast->attention(names[n])) {
            check_kernel(check, c, truth, plain);
        }
    }
}

// -- times
// -----------------------------------------------------------------------------

enum { SETS_MAX = 32 };

struct sets {
    struct placed at[SETS_MAX];
    int count;
};

static bool call_set(
        void *context, int round, struct stream *stream, struct kernel_error *err) {
    struct sets *sets = context;
    return call_kernel(&sets->at[round % sets->count], stream, err);
}

static bool place_typed(struct device *d, enum role role, enum dtype type,
        const struct attention_shape *s, int64_t heads, struct tensor *out,
        struct kernel_error *err) {
    struct operand o = {.role = role,
            .type = type,
            .size = {s->batch, s->seq_len, heads, s->head_dim}};
    return timer_tensor(d, d->stream, &o, 1, out, err);
}

static bool place_set(struct device *d, const struct attention_shape *s,
        enum dtype type, const struct attention_memory *memory, struct placed *p,
        const struct placed *first, struct kernel_error *err) {
    struct tensor saved = block(memory->saved), room = block(memory->forward_scratch);
    struct tensor back = block(memory->backward_scratch);
    int64_t all = s->heads + 2 * s->kv_heads;
    if (!place_typed(d, ROLE_IN, type, s, all, &p->qkv, err) ||
            !place_typed(d, ROLE_IN, type, s, s->heads, &p->dout, err) ||
            !place_typed(d, ROLE_OUT, type, s, s->heads, &p->out, err) ||
            !place_typed(d, ROLE_OUT, type, s, all, &p->dqkv, err) ||
            !device_tensor(d, &saved, true, 0, &p->saved, err)) {
        return false;
    }
    if (p != first) {
        p->room = first->room;
        p->back = first->back;
        return true;
    }
    return device_tensor(d, &room, true, 0, &p->room, err) &&
           device_tensor(d, &back, true, 0, &p->back, err);
}

static bool place_sets(struct check *check, const char *name,
        const struct attention_shape *s, enum dtype type, struct sets *sets,
        struct kernel_error *err) {
    struct device *d = check->device;
    const struct attention_kernel *kernel = d->table->attention(name);
    struct attention_memory memory;
    if (!kernel->plan(s, type, check->threads, &memory, err)) {
        return false;
    }
    size_t values = (size_t)(s->batch * s->seq_len * (s->heads + s->kv_heads) * 4 *
                             s->head_dim);
    sets->count = timer_sets(values * dtype_size(type) + memory.saved);
    device_reset(d);
    for (int i = 0; i < sets->count; i++) {
        sets->at[i] = (struct placed){
                .kernel = kernel, .shape = s, .forward = true, .keep = true};
        if (!place_set(d, s, type, &memory, &sets->at[i], sets->at, err)) {
            return false;
        }
        // Backward needs what forward leaves.
        if (!call_kernel(&sets->at[i], d->stream, err)) {
            return false;
        }
    }
    return d->table->stream_synchronize(d->stream, err);
}

static void bench_shape(struct check *check, const char *name, enum dtype type,
        const struct attention_shape *s) {
    struct device *d = check->device;
    struct check_case c = {.op = name, .type = type};
    struct sets sets;
    struct kernel_error err = {0};
    snprintf(c.shape, sizeof(c.shape), "B%lld T%lld H%lld D%lld", (long long)s->batch,
            (long long)s->seq_len, (long long)s->heads, (long long)s->head_dim);
    check->fast = d->table;
    check->cases++;
    bool ok = place_sets(check, name, s, type, &sets, &err);
    for (int backward = 0; ok && backward < 2; backward++) {
        char op[64];
        double seconds, T = (double)s->seq_len, size = (double)dtype_size(type);
        // As others count: half the square, and 2.5 times that backward.
        double flops = (backward ? 5 : 2) * (double)(s->batch * s->heads) * T * T *
                       (double)s->head_dim;
        double moved = (double)s->batch * T * (double)s->head_dim * size *
                       (double)(4 * s->heads);
        for (int i = 0; i < sets.count; i++) {
            sets.at[i].forward = !backward;
            sets.at[i].backward = backward;
        }
        ok = timer_median(
                d->table, d->stream, sets.count, call_set, &sets, &seconds, &err);
        if (ok) {
            snprintf(op, sizeof(op), "%s_%s%s", name, backward ? "backward" : "forward",
                    s->deterministic ? "" : "_unordered");
            timer_line(check, op, c.shape, type, seconds, flops,
                    moved * (backward ? 2 : 1), 0);
        }
    }
    if (!ok && err.kind == KERNEL_OUT_OF_DEVICE_MEMORY) {
        check_skip(check, &c, err.sentence);
    } else if (!ok) {
        device_failed(check, &c, &err);
    }
}

void attention_device_bench(struct check *check, const char *wanted) {
    static const struct attention_shape shapes[] = {{8, 256, 16, 16, 32, 0},
            {8, 512, 12, 12, 64, 0}, {64, 512, 8, 8, 64, 0}, {16, 1024, 12, 12, 64, 0},
            {64, 1024, 12, 12, 64, 0}, {2, 8192, 12, 12, 64, 0},
            {1, 512, 12, 12, 64, 0}, {1, 2048, 12, 12, 64, 0}, {1, 8192, 12, 12, 64, 0},
            {1, 16384, 12, 12, 64, 0}, {4, 4096, 16, 16, 64, 0},
            {2, 1024, 16, 16, 128, 0}, {2, 4096, 16, 16, 128, 0},
            {2, 16384, 16, 16, 128, 0}};
    for (size_t i = 0; i < sizeof(shapes) / sizeof(*shapes); i++) {
        for (int n = 0; n < NAMES && !check->lost; n++) {
            if (is_wanted(wanted, names[n]) &&
                    check->device->table->attention(names[n])) {
                struct attention_shape s = shapes[i];
                s.deterministic = true;
                bench_shape(check, names[n], DTYPE_BF16, &s);
                s.deterministic = strcmp(names[n], "cudnn") != 0;
                if (!s.deterministic && !check->lost) { // the others have one backward
                    bench_shape(check, names[n], DTYPE_BF16, &s);
                }
            }
        }
    }
}

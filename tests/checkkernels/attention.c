/*
 * Attention. In F32 each element must be near the truth. In low precision the judge is
 * the plain computation with every step rounded to the type, as an eager framework does
 * it: our largest error may be at most twice its, plus twice the type's rounding.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/convert.h"
#include "tests/checkkernels/attention.h"

static const char *const names[] = {"naive", "fused", "flash"};

static bool wanted(const char *op, const char *name) {
    return !op || strcmp(op, name) == 0 || strcmp(op, "attention") == 0;
}

static struct tensor make(enum role role, enum dtype type, double scale,
        const struct attention_shape *s, int64_t heads, uint64_t seed) {
    struct operand o = {.role = role,
            .type = type,
            .fill = FILL_NORMAL,
            .size = {s->batch, s->seq_len, heads, s->head_dim},
            .scale = scale};
    struct tensor t = check_tensor(&o, type, false);
    if (role == ROLE_IN) {
        check_fill(&t, &o, seed);
    }
    return t;
}

static struct tensor bytes(size_t count) {
    struct operand o = {.size = {count ? (int64_t)count : 1}};
    return check_tensor(&o, DTYPE_U8, true);
}

// Forward and backward of one kernel into out and dqkv.
static bool run_kernel(const struct kernels *k, struct stream *stream, const char *name,
        int threads, bool keep, struct attention_run *r, struct kernel_error *err) {
    const struct attention_kernel *a = k->attention(name);
    struct attention_memory memory;
    if (!a->plan(&r->shape, r->type, threads, &memory, err)) {
        return false;
    }
    struct tensor saved = bytes(memory.saved), none = {0};
    struct tensor room = bytes(memory.forward_scratch);
    struct tensor back = bytes(memory.backward_scratch);
    bool ok = a->forward(
            stream, &r->out, keep ? &saved : &none, &room, &r->qkv, &r->shape, err);
    if (ok && keep) {
        ok = a->backward(stream, &r->dqkv, &back, &r->dout, &r->out, &r->qkv, &saved,
                &r->shape, err);
    }
    if (ok && (!check_zones(&saved) || !check_zones(&room) || !check_zones(&back) ||
                      !check_zones(&r->out) || !check_zones(&r->dqkv))) {
        ok = kernel_fail(err, KERNEL_DEVICE_FAULT, "wrote outside an operand");
    }
    check_free(&saved);
    check_free(&room);
    check_free(&back);
    return ok;
}

// What a product reads of an operand.
static double operand(bool tf32, double value) {
    return tf32 ? f32_to_tf32((float)value) : value;
}

// To the type and back.
static double rounded(enum dtype type, double value) {
    double room = 0;
    struct tensor t = {.data = &room, .type = type, .rank = 1, .size = {1}};
    check_set(&t, 0, value);
    return check_get(&t, 0);
}

static int64_t packed(
        const struct attention_shape *s, int64_t b, int64_t t, int64_t h) {
    return ((b * s->seq_len + t) * (s->heads + 2 * s->kv_heads) + h) * s->head_dim;
}

static double get(const struct attention_run *r, bool tf32, int64_t i) {
    return operand(tf32, check_get(&r->qkv, i));
}

static double get_dout(const struct attention_run *r, bool tf32, int64_t i) {
    return operand(tf32, check_get(&r->dout, i));
}

// One row of eager attention: p[0 … i], and with `dp` its dS; each step rounded.
static void eager_row(const struct attention_run *r, bool tf32, int64_t b, int64_t h,
        int64_t i, double *p, double *ds) {
    const struct attention_shape *s = &r->shape;
    int64_t D = s->head_dim, key = s->heads + h / (s->heads / s->kv_heads);
    double highest = -INFINITY, sum = 0, mean = 0;
    for (int64_t j = 0; j <= i; j++) {
        double score = 0, dp = 0;
        for (int64_t d = 0; d < D; d++) {
            score += get(r, tf32, packed(s, b, i, h) + d) *
                     get(r, tf32, packed(s, b, j, key) + d);
            dp += get_dout(r, tf32, ((b * s->seq_len + i) * s->heads + h) * D + d) *
                  get(r, tf32, packed(s, b, j, key + s->kv_heads) + d);
        }
        bool hidden = s->window > 0 && j <= i - s->window;
        p[j] = rounded(r->type, rounded(r->type, score) / sqrt((double)D));
        p[j] = hidden ? -INFINITY : p[j];
        ds[j] = rounded(r->type, dp);
        highest = fmax(highest, p[j]);
    }
    for (int64_t j = 0; j <= i; j++) {
        p[j] = exp(p[j] - highest);
        sum += p[j];
    }
    for (int64_t j = 0; j <= i; j++) {
        p[j] = operand(tf32, rounded(r->type, p[j] / sum));
        mean += p[j] * ds[j];
    }
    for (int64_t j = 0; j <= i; j++) {
        ds[j] = rounded(r->type, p[j] * (ds[j] - mean));
        ds[j] = operand(tf32, rounded(r->type, ds[j] / sqrt((double)D)));
    }
}

// Into out and dqkv, F64 tensors that hold values of the type.
static void eager(const struct attention_run *r, bool tf32, struct tensor *out,
        struct tensor *dqkv) {
    const struct attention_shape *s = &r->shape;
    int64_t H = s->heads, T = s->seq_len, D = s->head_dim;
    double *p = malloc(2 * (size_t)T * sizeof(*p)), *ds = p + T;
    double *o = out->data, *dx = dqkv->data;
    memset(o, 0, tensor_bytes(out));
    memset(dx, 0, tensor_bytes(dqkv));
    for (int64_t row = 0; row < s->batch * H * T; row++) {
        int64_t b = row / (H * T), h = row / T % H, i = row % T;
        int64_t key = H + h / (H / s->kv_heads), value = key + s->kv_heads;
        int64_t at = ((b * T + i) * H + h) * D;
        eager_row(r, tf32, b, h, i, p, ds);
        for (int64_t j = 0; j <= i; j++) {
            for (int64_t d = 0; d < D; d++) {
                o[at + d] += p[j] * get(r, tf32, packed(s, b, j, value) + d);
                dx[packed(s, b, i, h) + d] +=
                        ds[j] * get(r, tf32, packed(s, b, j, key) + d);
                dx[packed(s, b, j, key) + d] +=
                        ds[j] * get(r, tf32, packed(s, b, i, h) + d);
                dx[packed(s, b, j, value) + d] += p[j] * get_dout(r, tf32, at + d);
            }
        }
    }
    for (int64_t i = 0; i < tensor_count(out); i++) {
        o[i] = rounded(r->type, o[i]);
    }
    for (int64_t i = 0; i < tensor_count(dqkv); i++) {
        dx[i] = rounded(r->type, dx[i]);
    }
    free(p);
}

// Largest |a − b|, and in *size the largest |b|; NaN if a is anywhere.
static double distance(const struct tensor *a, const struct tensor *b, double *size) {
    double largest = 0;
    *size = 0;
    for (int64_t i = 0; i < tensor_count(a); i++) {
        double difference = fabs(check_get(a, i) - check_get(b, i));
        if (!(difference <= largest)) {
            largest = difference;
        }
        if (isnan(largest)) {
            return largest;
        }
        *size = fmax(*size, fabs(check_get(b, i)));
    }
    return largest;
}

static void judge(struct check *check, const struct check_case *c, const char *what,
        const struct tensor *got, const struct tensor *want,
        const struct tensor *eager_one) {
    double size, unused, error = distance(got, want, &size);
    // c->factor: how much more than usual the scores' own rounding weighs.
    double limit = 2e-6 + 1e-5 * size * (c->factor > 0 ? c->factor : 1);
    if (c->type != DTYPE_F32) {
        limit = 2 * distance(eager_one, want, &unused) +
                2 * check_half_ulp(c->type) * size;
    } else if (check->tf32) {
        // Probabilities and dS are rounded to 11 bits before their products; a device
        // may cut operands where the eager one rounds them.
        limit = 4 * 0x1p-11 * size;
        limit += check->device ? 3 * distance(eager_one, want, &unused) : 0;
    }
    if (!(error <= limit)) {
        check_fail(check, c, "%s is off by %.3g, allowed %.3g", what, error, limit);
    }
}

struct attention_run attention_open(const struct attention_run *like, enum dtype type) {
    const struct attention_shape *s = &like->shape;
    struct attention_run r = *like;
    r.out = make(ROLE_OUT, type, 1, s, s->heads, 0);
    r.dqkv = make(ROLE_OUT, type, 1, s, s->heads + 2 * s->kv_heads, 0);
    return r;
}

void attention_close(struct attention_run *r) {
    check_free(&r->out);
    check_free(&r->dqkv);
}

void attention_judge(struct check *check, const struct check_case *c,
        const struct attention_run *got, const struct attention_run *truth,
        const struct attention_run *plain) {
    judge(check, c, "out", &got->out, &truth->out, &plain->out);
    judge(check, c, "dqkv", &got->dqkv, &truth->dqkv, &plain->dqkv);
}

// One kernel of the table at work: near the truth; the same bits on three threads and,
// forward, when no backward is to come.
static void check_kernel(struct check *check, const struct check_case *c,
        const struct attention_run *truth, const struct attention_run *plain) {
    struct kernel_error err = {0};
    struct attention_run one = attention_open(truth, c->type),
                         three = attention_open(truth, c->type);
    struct attention_run alone = attention_open(truth, c->type);
    const struct kernels *k = check->fast;
    if (!run_kernel(k, check->stream, c->op, 1, true, &one, &err) ||
            !run_kernel(k, check->stream3, c->op, 3, true, &three, &err) ||
            !run_kernel(k, check->stream, c->op, 1, false, &alone, &err)) {
        check_fail(check, c, "%s", err.sentence);
    }
    attention_judge(check, c, &one, truth, plain);
    if (memcmp(one.out.data, three.out.data, tensor_bytes(&one.out)) ||
            memcmp(one.dqkv.data, three.dqkv.data, tensor_bytes(&one.dqkv))) {
        check_fail(check, c, "depends on the threads");
    }
    if (memcmp(one.out.data, alone.out.data, tensor_bytes(&one.out))) {
        check_fail(check, c, "forward differs where no backward is to come");
    }
    attention_close(&one);
    attention_close(&three);
    attention_close(&alone);
    check->cases++;
}

// Every query far from every key: scores near −160, so the log of a row's sum lies
// where e to its power is nothing.
static void move_apart(struct attention_run *r) {
    const struct attention_shape *s = &r->shape;
    double far = sqrt(160 / sqrt((double)s->head_dim));
    int64_t row = (s->heads + 2 * s->kv_heads) * s->head_dim;
    for (int64_t i = 0; i < tensor_count(&r->qkv); i++) {
        int64_t head = i % row / s->head_dim;
        double by = head < s->heads ? far : head < s->heads + s->kv_heads ? -far : 0;
        check_set(&r->qkv, i, check_get(&r->qkv, i) + by);
    }
}

static void check_shape(struct check *check, const char *op, enum dtype type,
        double scale, bool apart, const struct attention_shape *s) {
    struct check_case c = {.op = "attention", .type = type, .factor = apart ? 20 : 1};
    struct kernel_error err = {0};
    if (check->lost) {
        return;
    }
    snprintf(c.shape, sizeof(c.shape), "B%lld T%lld H%lld/%lld D%lld w%lld x%g%s",
            (long long)s->batch, (long long)s->seq_len, (long long)s->heads,
            (long long)s->kv_heads, (long long)s->head_dim, (long long)s->window, scale,
            apart ? " apart" : "");
    struct attention_run inputs = {.shape = *s,
            .type = type,
            .qkv = make(ROLE_IN, type, scale, s, s->heads + 2 * s->kv_heads, 1),
            .dout = make(ROLE_IN, type, 1, s, s->heads, 2)};
    inputs.shape.deterministic = true;
    if (apart) {
        move_apart(&inputs);
    }
    struct attention_run truth = attention_open(&inputs, DTYPE_F64);
    struct attention_run plain = attention_open(&inputs, DTYPE_F64);
    if (!run_kernel(check->truth, check->stream, "naive", 1, true, &truth, &err)) {
        check_fail(check, &c, "%s", err.sentence);
    }
    if (type != DTYPE_F32 || (check->tf32 && check->device)) {
        eager(&inputs, check->tf32, &plain.out, &plain.dqkv);
    }
    if (check->device) {
        attention_device(check, op, &c, &truth, &plain);
    }
    for (int t = 0; t < check->table_count; t++) {
        check->fast = check->tables[t];
        // The reference has one kernel under three names.
        for (int n = 0; n < (t == 0 ? 1 : 3); n++) {
            c.op = names[n];
            if (wanted(op, c.op)) {
                check_kernel(check, &c, &truth, &plain);
            }
        }
    }
    attention_close(&truth);
    attention_close(&plain);
    check_free(&inputs.qkv);
    check_free(&inputs.dout);
}

static double best_time(struct check *check, const struct attention_kernel *a,
        bool backward, struct attention_run *r, struct tensor *saved,
        struct tensor *room) {
    struct kernel_error err;
    double best = INFINITY;
    for (int i = 0; i < 21; i++) {
        double start = check_now(check);
        if (backward) {
            a->backward(check->stream, &r->dqkv, room, &r->dout, &r->out, &r->qkv,
                    saved, &r->shape, &err);
        } else {
            a->forward(check->stream, &r->out, saved, room, &r->qkv, &r->shape, &err);
        }
        best = fmin(best, check_now(check) - start);
    }
    return best;
}

static void bench_shape(struct check *check, const char *name, enum dtype type,
        const struct attention_shape *s) {
    const struct attention_kernel *a = check->fast->attention(name);
    struct attention_memory memory;
    int64_t all = s->heads + 2 * s->kv_heads;
    struct attention_run r = {.shape = *s,
            .type = type,
            .qkv = make(ROLE_IN, type, 1, s, all, 1),
            .dout = make(ROLE_IN, type, 1, s, s->heads, 2),
            .out = make(ROLE_OUT, type, 1, s, s->heads, 0),
            .dqkv = make(ROLE_OUT, type, 1, s, all, 0)};
    struct kernel_error err = {0};
    if (!a->plan(s, type, check->threads, &memory, &err)) {
        abort(); // the CPU's kernels serve every shape
    }
    struct tensor saved = bytes(memory.saved);
    struct tensor room = bytes(memory.forward_scratch > memory.backward_scratch
                                       ? memory.forward_scratch
                                       : memory.backward_scratch);
    for (int backward = 0; backward < 2; backward++) {
        char op[64], shape[64];
        double T = (double)s->seq_len, pairs = T * (T + 1) / 2; // seen by causality
        double flops = (backward ? 10 : 4) * (double)(s->batch * s->heads) * pairs *
                       (double)s->head_dim;
        double bytes_moved = (double)(tensor_bytes(&r.qkv) * (backward ? 2 : 1) +
                                      tensor_bytes(&r.out) * (backward ? 2 : 1));
        double best = best_time(check, a, backward, &r, &saved, &room);
        snprintf(op, sizeof(op), "%s_%s", name, backward ? "backward" : "forward");
        snprintf(shape, sizeof(shape), "B%lld T%lld H%lld D%lld", (long long)s->batch,
                (long long)s->seq_len, (long long)s->heads, (long long)s->head_dim);
        check_line(check, op, shape, type, best, flops, bytes_moved);
        check->cases++;
    }
    struct tensor *all_tensors[] = {&r.qkv, &r.dout, &r.out, &r.dqkv, &saved, &room};
    for (size_t i = 0; i < sizeof(all_tensors) / sizeof(*all_tensors); i++) {
        check_free(all_tensors[i]);
    }
}

// On a device tiles are larger, and what surrounds their edges.
static void check_device_shapes(struct check *check, const char *op, enum dtype type) {
    static const struct attention_shape shapes[] = {{1, 256, 2, 2, 64, 0},
            {1, 320, 4, 2, 128, 0}, {1, 512, 2, 1, 32, 100}, {2, 129, 3, 3, 120, 0},
            {1, 384, 1, 1, 96, 0}, {1, 1000, 1, 1, 64, 0}, {3, 200, 4, 2, 64, 0}};
    static const struct attention_shape uneven = {2, 192, 2, 1, 64, 0};
    if (!check->quick) {
        for (size_t i = 0; i < sizeof(shapes) / sizeof(*shapes); i++) {
            check_shape(check, op, type, 1, false, &shapes[i]);
        }
        check_shape(check, op, type, 5, false, &uneven);
    }
    check_shape(check, op, type, 1, true, &uneven);
}

void check_attention(struct check *check, const char *op) {
    static const enum dtype types[] = {DTYPE_F32, DTYPE_BF16, DTYPE_F16};
    static const struct attention_shape small[] = {{2, 7, 2, 2, 8, 0},
            {1, 1, 2, 1, 16, 0}, {1, 64, 2, 2, 32, 0}, {2, 67, 4, 2, 24, 5},
            {1, 49, 3, 1, 40, 1}, {1, 50, 2, 1, 64, 49}, {1, 50, 2, 1, 64, 50},
            {1, 137, 2, 1, 128, 0}, {1, 193, 1, 1, 72, 130}, {1, 300, 2, 1, 8, 33}};
    static const struct attention_shape timed[] = {
            {12, 64, 4, 4, 32, 0}, {1, 1024, 8, 8, 64, 0}};
    if (!wanted(op, "naive") && !wanted(op, "fused") && !wanted(op, "flash") &&
            !(check->device && wanted(op, "cudnn"))) {
        return;
    }
    if (check->device && !check->tf32) {
        attention_device_absent(check, op);
    }
    if (check->device && check->bench) {
        attention_device_bench(check, op);
        return;
    }
    for (int t = 0; t < (check->tf32 ? 1 : 3); t++) {
        for (size_t i = 0; !check->bench && i < sizeof(small) / sizeof(*small); i++) {
            check_shape(check, op, types[t], 1, false, &small[i]);
        }
        if (!check->bench) { // scores beyond what exp can hold
            check_shape(check, op, types[t], 5, false, &small[3]);
        }
        if (check->device) {
            check_device_shapes(check, op, types[t]);
        }
        for (int i = 0; check->bench && i < 6; i++) {
            if (wanted(op, names[i / 2])) {
                bench_shape(check, names[i / 2], types[t], &timed[i % 2]);
            }
        }
    }
}

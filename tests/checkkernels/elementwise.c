#include <stdio.h>
#include <string.h>

#include "tests/checkkernels/check.h"
#include "tests/checkkernels/yardsticks.h"

static const enum dtype types[] = {DTYPE_F32, DTYPE_BF16, DTYPE_F16};

static bool cast(const struct check_case *c, const struct kernels *k,
        struct stream *stream, struct tensor *t, struct kernel_error *err) {
    (void)c;
    return k->cast(stream, &t[0], &t[1], err);
}

static bool add(const struct check_case *c, const struct kernels *k,
        struct stream *stream, struct tensor *t, struct kernel_error *err) {
    (void)c;
    return k->add(stream, &t[0], &t[1], &t[2], err);
}

static bool add_in_place(const struct check_case *c, const struct kernels *k,
        struct stream *stream, struct tensor *t, struct kernel_error *err) {
    (void)c;
    return k->add(stream, &t[0], &t[0], &t[1], err);
}

static bool gelu_forward(const struct check_case *c, const struct kernels *k,
        struct stream *stream, struct tensor *t, struct kernel_error *err) {
    (void)c;
    return k->gelu_forward(stream, &t[0], &t[1], err);
}

static bool gelu_backward(const struct check_case *c, const struct kernels *k,
        struct stream *stream, struct tensor *t, struct kernel_error *err) {
    (void)c;
    return k->gelu_backward(stream, &t[0], &t[1], &t[2], err);
}

static bool gelu_backward_in_place(const struct check_case *c, const struct kernels *k,
        struct stream *stream, struct tensor *t, struct kernel_error *err) {
    (void)c;
    return k->gelu_backward(stream, &t[0], &t[0], &t[1], err);
}

static bool swiglu_forward(const struct check_case *c, const struct kernels *k,
        struct stream *stream, struct tensor *t, struct kernel_error *err) {
    (void)c;
    return k->swiglu_forward(stream, &t[0], &t[1], err);
}

static bool swiglu_backward(const struct check_case *c, const struct kernels *k,
        struct stream *stream, struct tensor *t, struct kernel_error *err) {
    (void)c;
    return k->swiglu_backward(stream, &t[0], &t[1], &t[2], err);
}

static bool swiglu_backward_in_place(const struct check_case *c,
        const struct kernels *k, struct stream *stream, struct tensor *t,
        struct kernel_error *err) {
    (void)c;
    return k->swiglu_backward(stream, &t[1], &t[0], &t[1], err);
}

static bool rope_forward(const struct check_case *c, const struct kernels *k,
        struct stream *stream, struct tensor *t, struct kernel_error *err) {
    return k->rope_forward(stream, &t[0], c->number[0], c->number[1], 10000, err);
}

static bool rope_backward(const struct check_case *c, const struct kernels *k,
        struct stream *stream, struct tensor *t, struct kernel_error *err) {
    return k->rope_backward(stream, &t[0], c->number[0], c->number[1], 10000, err);
}

// An op of `rows` × `columns` with some inputs of that size, the first one `wide` times
// as wide in its last place.
struct shape {
    const char *op;
    bool (*call)(const struct check_case *, const struct kernels *, struct stream *,
            struct tensor *, struct kernel_error *);
    int out_wide, in_wide[2];
    bool in_place, wide_in_place;
    double flops;
};

static const struct shape shapes[] = {
        {"add", add, 1, {1, 1}, false, false, 1},
        {"add", add_in_place, 1, {1, 0}, true, false, 1},
        {"gelu_forward", gelu_forward, 1, {1, 0}, false, false, 20},
        {"gelu_backward", gelu_backward, 1, {1, 1}, false, false, 30},
        {"gelu_backward", gelu_backward_in_place, 1, {1, 0}, true, false, 30},
        {"swiglu_forward", swiglu_forward, 1, {2, 0}, false, false, 20},
        {"swiglu_backward", swiglu_backward, 2, {1, 2}, false, false, 30},
        {"swiglu_backward", swiglu_backward_in_place, 1, {2, 0}, false, true, 30},
};

static void run_shape(struct check *check, const struct shape *s, enum dtype type,
        enum fill fill, int64_t rows, int64_t columns) {
    struct check_case c = {.op = s->op,
            .type = type,
            .call = s->call,
            .absolute = 1e-6,
            .relative = 2e-6};
    snprintf(c.shape, sizeof(c.shape), "%lldx%lld%s", (long long)rows,
            (long long)columns, s->in_place || s->wide_in_place ? " in place" : "");
    int64_t count = rows * columns;
    enum role role = s->in_place ? ROLE_IN_OUT : ROLE_OUT;
    // In place of the second operand, the first is an input.
    role = s->wide_in_place ? ROLE_IN : role;
    check_operand(&c, role, type, fill, rows, columns * s->out_wide, 0, 0);
    for (int i = 0; i < 2 && s->in_wide[i]; i++) {
        role = s->wide_in_place ? ROLE_IN_OUT : ROLE_IN;
        check_operand(&c, role, type, fill, rows, columns * s->in_wide[i], 0, 0);
    }
    c.flops = s->flops * (double)count;
    int wide = s->out_wide + s->in_wide[0] + s->in_wide[1];
    wide += s->in_place ? s->out_wide : s->wide_in_place ? s->in_wide[0] : 0;
    c.bytes = (double)(count * wide) * (double)dtype_size(type);
    if (fill == FILL_LARGE) {
        c.absolute = 1e-4; // of products of two large inputs
    }
    check_run(check, &c);
}

static void run_cast(struct check *check, enum dtype to, enum dtype from,
        enum fill fill, int64_t count) {
    struct check_case c = {.op = "cast", .type = to, .call = cast};
    snprintf(c.shape, sizeof(c.shape), "%lld from %s", (long long)count,
            dtype_name(from));
    check_operand(&c, ROLE_OUT, to, fill, count, 0, 0, 0);
    check_operand(&c, ROLE_IN, from, fill, count, 0, 0, 0);
    c.bytes = (double)count * (double)(dtype_size(to) + dtype_size(from));
    check_run(check, &c);
}

static void run_rope(struct check *check, bool backward, enum dtype type, int64_t B,
        int64_t T, int64_t H, int64_t G, int64_t D) {
    struct check_case c = {.op = backward ? "rope_backward" : "rope_forward",
            .type = type,
            .call = backward ? rope_backward : rope_forward,
            .number = {H, G},
            .absolute = 1e-6,
            .relative = 1e-6};
    snprintf(c.shape, sizeof(c.shape), "%lldx%lldx%lld+%lldx%lld", (long long)B,
            (long long)T, (long long)H, (long long)G, (long long)D);
    check_operand(&c, ROLE_IN_OUT, type, FILL_NORMAL, B, T, H + 2 * G, D);
    c.flops = 3 * (double)(B * T * (H + G) * D);
    c.bytes = 2 * (double)(B * T * (H + G) * D) * (double)dtype_size(type);
    check_run(check, &c);
}

static bool wanted(const char *op, const char *name) {
    return !op || strcmp(op, name) == 0;
}

static void run_ropes(struct check *check, const char *op, enum dtype type) {
    for (int backward = 0; backward < 2; backward++) {
        if (!wanted(op, backward ? "rope_backward" : "rope_forward")) {
            continue;
        }
        if (check->bench) {
            run_rope(check, backward, type, 12, 64, 4, 4, 32);
            continue;
        }
        run_rope(check, backward, type, 2, 37, 3, 1, 8);
        run_rope(check, backward, type, 1, 70, 2, 2, 136);
        run_rope(check, backward, type, 1, 1, 4, 2, 40);
        if (check->device) {
            run_rope(check, backward, type, 3, 700, 4, 2, 64);
        }
    }
}

static void bench_yardstick(
        struct check *check, const char *op, const struct yardstick *y) {
    int64_t M = yardsticks_tokens(y);
    for (size_t s = 0; s < sizeof(shapes) / sizeof(*shapes); s++) {
        const char *name = shapes[s].op;
        bool llama = strncmp(name, "swiglu", 6) == 0;
        bool gpt = strncmp(name, "gelu", 4) == 0;
        if (wanted(op, name) && (y->llama ? !gpt : !llama)) {
            int64_t columns = llama || gpt ? y->hidden : y->channels;
            run_shape(check, &shapes[s], DTYPE_BF16, FILL_NORMAL, M, columns);
        }
    }
    for (int backward = 0; backward < 2 && y->llama; backward++) {
        if (wanted(op, backward ? "rope_backward" : "rope_forward")) {
            run_rope(check, backward, DTYPE_BF16, y->batch, y->seq_len, y->heads,
                    y->heads, y->channels / y->heads);
        }
    }
    if (wanted(op, "cast")) {
        run_cast(check, DTYPE_BF16, DTYPE_F32, FILL_NORMAL, y->parameters);
    }
}

void check_elementwise(struct check *check, const char *op) {
    static const enum fill fills[] = {FILL_NORMAL, FILL_LARGE, FILL_ZERO, FILL_TINY};
    for (int i = 0; check->device && check->bench && i < YARDSTICKS; i++) {
        bench_yardstick(check, op, &yardsticks[i]);
    }
    if (check->device && check->bench) {
        return;
    }
    for (int t = 0; t < 3; t++) {
        for (size_t s = 0; s < sizeof(shapes) / sizeof(*shapes); s++) {
            if (!wanted(op, shapes[s].op)) {
                continue;
            }
            if (check->bench) {
                run_shape(check, &shapes[s], types[t], FILL_NORMAL, 768, 512);
                continue;
            }
            for (int f = 0; f < 4; f++) {
                run_shape(check, &shapes[s], types[t], fills[f], 3, 1031);
                run_shape(check, &shapes[s], types[t], fills[f], 1, 1);
            }
            run_shape(check, &shapes[s], types[t], FILL_NORMAL, 41, 523);
            if (check->device) {
                run_shape(check, &shapes[s], types[t], FILL_NORMAL, 613, 1009);
                run_shape(check, &shapes[s], types[t], FILL_LARGE, 256, 1024);
            }
        }
        for (int from = 0; from < 3 && wanted(op, "cast"); from++) {
            if (check->bench) {
                run_cast(check, types[t], types[from], FILL_NORMAL, 393216);
                continue;
            }
            for (int f = 0; f < 4; f++) {
                run_cast(check, types[t], types[from], fills[f], 1031);
            }
            run_cast(check, types[t], types[from], FILL_NORMAL, 40001);
            if (check->device) {
                run_cast(check, types[t], types[from], FILL_LARGE, 1000003);
            }
        }
        run_ropes(check, op, types[t]);
    }
}

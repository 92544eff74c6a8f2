#include <math.h>
#include <stdio.h>
#include <string.h>

#include "tests/checkkernels/check.h"
#include "tests/checkkernels/yardsticks.h"

static bool norm_partials(const struct check_case *c, const struct kernels *k,
        struct stream *stream, struct tensor *t, struct kernel_error *err) {
    return k->norm_partials(stream, &t[0], &t[1], c->number[0] ? &t[2] : NULL, err);
}

/* A list of `chunks` ÷ 2 of so many; one element where nobody asks for it. */
static void owned_operand(struct check_case *c, bool owned, int64_t chunks) {
    check_operand(
            c, ROLE_IN, DTYPE_I32, FILL_OWNED, owned ? (chunks + 1) / 2 : 1, 0, 0, 0)
            ->below = chunks;
}

// `owned`: of every other chunk.
static void run_norm_partials(struct check *check, enum dtype type, enum fill fill,
        bool owned, int64_t count) {
    int64_t chunks = (count + NORM_CHUNK - 1) / NORM_CHUNK;
    struct check_case c = {.op = "norm_partials",
            .type = type,
            .call = norm_partials,
            .number = {owned},
            .relative = 2e-6};
    snprintf(c.shape, sizeof(c.shape), "%lld%s", (long long)count,
            owned ? " owned" : "");
    check_operand(&c, owned ? ROLE_IN_OUT : ROLE_OUT, DTYPE_F32, fill, chunks, 0, 0, 0);
    check_operand(&c, ROLE_IN, type, fill, count, 0, 0, 0);
    owned_operand(&c, owned, chunks);
    double summed = owned ? (double)count / 2 : (double)count; // about, of a list
    c.bytes = summed * (double)dtype_size(type);
    c.flops = 2 * summed;
    check_run(check, &c);
}

static bool clip(const struct check_case *c, const struct kernels *k,
        struct stream *stream, struct tensor *t, struct kernel_error *err) {
    struct clip_options options = {.clip = (float)c->factor,
            .dynamic_scale = c->number[0],
            .growth_steps = (int)c->number[0]};
    return k->clip(stream, &t[0], &t[1], &options, err);
}

// `growth` 0: a scale that stays; the control block has seen three good steps.
static void run_clip(struct check *check, double threshold, int growth, bool overflow,
        int64_t count) {
    struct check_case c = {.op = "clip",
            .type = DTYPE_F32,
            .call = clip,
            .number = {growth},
            .factor = threshold,
            .relative = 1e-6};
    snprintf(c.shape, sizeof(c.shape), "%lld at %g growth %d%s", (long long)count,
            threshold, growth, overflow ? " overflow" : "");
    check_operand(&c, ROLE_IN_OUT, DTYPE_F32, FILL_CONTROL, CONTROL_COUNT, 0, 0, 0);
    check_operand(&c, ROLE_IN, DTYPE_F32, FILL_POSITIVE, count, 0, 0, 0)->scale =
            overflow ? INFINITY : 1;
    c.bytes = 4 * (double)count;
    c.flops = (double)count;
    check_run(check, &c);
}

static void check_clip(struct check *check) {
    static const int growths[] = {0, 4, 2000};
    if (check->bench) {
        run_clip(check, 1, 0, false, 2845);
        return;
    }
    for (int i = 0; i < 12; i++) {
        double threshold = i & 1 ? 0.5 : 0;
        bool overflow = i & 2;
        run_clip(check, threshold, growths[i / 4], overflow, 1);
        run_clip(check, threshold, growths[i / 4], overflow, 1531);
    }
}

enum { WEIGHTS, MASTER, FIRST, SECOND, GRADS, DECAYED, OWNED, CONTROL };

static bool adamw(const struct check_case *c, const struct kernels *k,
        struct stream *stream, struct tensor *t, struct kernel_error *err) {
    struct adamw_options options = {0.9f, 0.99f, 1e-8f, 0.1f};
    struct tensor *weights = c->number[0] ? &t[MASTER] : &t[WEIGHTS];
    const struct tensor *owned = c->number[1] ? &t[OWNED] : NULL;
    return k->adamw(stream, weights, &t[MASTER], &t[FIRST], &t[SECOND], &t[GRADS],
            &t[DECAYED], owned, &t[CONTROL], &options, err);
}

/*
 * F32 weights are their own master; others are the master rounded. `chunks` > 0: of so
 * many every other is owned.
 */
static void run_adamw(struct check *check, enum dtype type, enum dtype gradient,
        enum fill fill, bool overflow, int64_t chunks, int64_t count) {
    int64_t all = chunks ? chunks * NORM_CHUNK : count;
    count = chunks ? (chunks + 1) / 2 * NORM_CHUNK : count; // of the state
    struct check_case c = {.op = "adamw",
            .type = type,
            .call = adamw,
            .number = {type == DTYPE_F32, chunks != 0},
            .absolute = 3e-7,
            .relative = 1e-6};
    snprintf(c.shape, sizeof(c.shape), "%lld grads %s%s%s", (long long)count,
            dtype_name(gradient), chunks ? " owned" : "", overflow ? " overflow" : "");
    bool own = type == DTYPE_F32, some = overflow || chunks;
    enum role weights = own ? ROLE_IN : some ? ROLE_IN_OUT : ROLE_OUT;
    check_operand(&c, weights, type, FILL_NORMAL, all, 0, 0, 0);
    check_operand(&c, ROLE_IN_OUT, DTYPE_F32, FILL_NORMAL, own ? all : count, 0, 0, 0);
    check_operand(&c, ROLE_IN_OUT, DTYPE_F32, FILL_NORMAL, count, 0, 0, 0);
    check_operand(&c, ROLE_IN_OUT, DTYPE_F32, FILL_POSITIVE, count, 0, 0, 0);
    check_operand(&c, ROLE_IN, gradient, fill, all, 0, 0, 0);
    int64_t blocks = (all + ADAMW_BLOCK - 1) / ADAMW_BLOCK;
    check_operand(&c, ROLE_IN, DTYPE_U8, FILL_INDEX, blocks, 0, 0, 0)->below = 2;
    owned_operand(&c, chunks, chunks);
    check_operand(&c, ROLE_IN, DTYPE_F32, FILL_CONTROL, CONTROL_COUNT, 0, 0, 0)->below =
            overflow;
    size_t copy = type == DTYPE_F32 ? 0 : dtype_size(type);
    c.bytes = (double)count * (double)(24 + copy + dtype_size(gradient));
    c.flops = 15 * (double)count;
    check_run(check, &c);
}

static bool wanted(const char *op, const char *name) {
    return !op || strcmp(op, name) == 0;
}

static void bench_yardstick(
        struct check *check, const char *op, const struct yardstick *y) {
    if (wanted(op, "norm_partials")) {
        run_norm_partials(check, DTYPE_BF16, FILL_NORMAL, false, y->parameters);
    }
    if (wanted(op, "clip")) {
        run_clip(check, 1, 0, false, (y->parameters + NORM_CHUNK - 1) / NORM_CHUNK);
    }
    if (wanted(op, "adamw")) {
        run_adamw(check, DTYPE_BF16, DTYPE_BF16, FILL_NORMAL, false, 0, y->parameters);
        run_adamw(check, DTYPE_BF16, DTYPE_BF16, FILL_NORMAL, false,
                y->parameters / NORM_CHUNK, 0);
    }
}

void check_optimizer(struct check *check, const char *op) {
    static const enum dtype types[] = {DTYPE_F32, DTYPE_BF16, DTYPE_F16};
    static const enum fill fills[] = {FILL_NORMAL, FILL_LARGE, FILL_ZERO, FILL_TINY};
    for (int i = 0; check->device && check->bench && i < YARDSTICKS; i++) {
        bench_yardstick(check, op, &yardsticks[i]);
    }
    if (check->device && check->bench) {
        return;
    }
    if (wanted(op, "clip")) {
        check_clip(check);
    }
    for (int t = 0; t < 3; t++) {
        if (check->bench) {
            if (wanted(op, "norm_partials")) {
                run_norm_partials(check, types[t], FILL_NORMAL, false, 835584);
            }
            if (wanted(op, "adamw")) {
                run_adamw(check, types[t], types[t], FILL_NORMAL, false, 0, 835584);
            }
            continue;
        }
        for (int f = 0; f < 4 && wanted(op, "norm_partials"); f++) {
            run_norm_partials(check, types[t], fills[f], false, 1);
            run_norm_partials(check, types[t], fills[f], false, NORM_CHUNK + 1);
            run_norm_partials(check, types[t], fills[f], false, 3 * NORM_CHUNK - 5);
            run_norm_partials(check, types[t], fills[f], true, 3 * NORM_CHUNK - 5);
        }
        for (int f = 0; f < 4 && wanted(op, "adamw"); f++) {
            run_adamw(check, types[t], types[t], fills[f], false, 0, 1);
            run_adamw(check, types[t], types[t], fills[f], f == 1, 0, 20011);
            run_adamw(check, types[t], DTYPE_F32, fills[f], false, 0, 1025);
            run_adamw(check, types[t], types[t], fills[f], f == 1, 3, 0);
            if (check->device) {
                run_adamw(check, types[t], types[t], fills[f], false, 0, 300007);
            }
        }
    }
}

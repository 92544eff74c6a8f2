// Ops that work on rows: embeddings, norms and the classifier.
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "tests/checkkernels/check.h"
#include "tests/checkkernels/yardsticks.h"

static bool embedding_forward(const struct check_case *c, const struct kernels *k,
        struct stream *stream, struct tensor *t, struct kernel_error *err) {
    const struct tensor *positions = c->number[0] ? &t[3] : NULL;
    return k->embedding_forward(stream, &t[0], &t[1], &t[2], positions, err);
}

static bool embedding_backward(const struct check_case *c, const struct kernels *k,
        struct stream *stream, struct tensor *t, struct kernel_error *err) {
    struct tensor *positions = c->number[0] ? &t[1] : NULL;
    return k->embedding_backward(
            stream, &t[0], positions, &t[2], &t[3], &t[4], c->number[1], err);
}

static size_t embedding_scratch(
        const struct check_case *c, const struct kernels *k, int i) {
    (void)i;
    return k->embedding_scratch(c->number[2], c->number[3], c->number[4]);
}

static void run_embedding(struct check *check, enum dtype type, bool backward,
        bool positions, bool accumulate, const int64_t *s) {
    int64_t B = s[0], T = s[1], V = s[2], C = s[3];
    struct check_case c = {.type = type,
            .absolute = 1e-5,
            .relative = 1e-6,
            .op = backward ? "embedding_backward" : "embedding_forward",
            .call = backward ? embedding_backward : embedding_forward,
            .scratch = embedding_scratch,
            .number = {positions, accumulate, B * T, V, C}};
    snprintf(c.shape, sizeof(c.shape), "%lldx%lldx%lld of %lld%s%s", (long long)B,
            (long long)T, (long long)C, (long long)V, positions ? " pos" : "",
            accumulate ? " acc" : "");
    c.absolute += 0x1p-23 * (double)(B * T) / (double)V; // a token's own sum
    enum role out = accumulate ? ROLE_IN_OUT : ROLE_OUT;
    enum role in_place = positions ? out : ROLE_IN;
    if (backward) {
        check_operand(&c, out, type, FILL_NORMAL, V, C, 0, 0);
        check_operand(&c, in_place, type, FILL_NORMAL, T + 2, C, 0, 0);
        check_operand(&c, ROLE_SCRATCH, DTYPE_U8, FILL_ZERO, 1, 0, 0, 0);
        check_operand(&c, ROLE_IN, type, FILL_NORMAL, B, T, C, 0);
        check_operand(&c, ROLE_IN, DTYPE_I32, FILL_INDEX, B, T, 0, 0)->below = V;
    } else {
        check_operand(&c, ROLE_OUT, type, FILL_NORMAL, B, T, C, 0);
        check_operand(&c, ROLE_IN, DTYPE_I32, FILL_INDEX, B, T, 0, 0)->below = V;
        check_operand(&c, ROLE_IN, type, FILL_NORMAL, V, C, 0, 0);
        check_operand(&c, ROLE_IN, type, FILL_NORMAL, T + 2, C, 0, 0);
    }
    int64_t other = backward ? V : B * T; // rows: of the table, or of the tokens
    c.bytes = (double)((B * T + other) * C) * (double)dtype_size(type);
    check_run(check, &c);
}

static bool layernorm_forward(const struct check_case *c, const struct kernels *k,
        struct stream *stream, struct tensor *t, struct kernel_error *err) {
    bool plain = !c->number[0];
    return k->layernorm_forward(stream, &t[0], &t[1], &t[2], plain ? NULL : &t[3],
            &t[4], plain ? NULL : &t[5], &t[6], &t[7], err);
}

static bool rmsnorm_forward(const struct check_case *c, const struct kernels *k,
        struct stream *stream, struct tensor *t, struct kernel_error *err) {
    bool plain = !c->number[0];
    return k->rmsnorm_forward(stream, &t[0], &t[2], plain ? NULL : &t[3], &t[4],
            plain ? NULL : &t[5], &t[6], err);
}

static void run_norm_forward(struct check *check, bool rms, enum dtype type,
        enum fill fill, bool residual, int64_t N, int64_t C) {
    struct check_case c = {.op = rms ? "rmsnorm_forward" : "layernorm_forward",
            .type = type,
            .call = rms ? rmsnorm_forward : layernorm_forward,
            .number = {residual},
            .absolute = 3e-6,
            .relative = 3e-6};
    snprintf(c.shape, sizeof(c.shape), "%lldx%lld%s", (long long)N, (long long)C,
            residual ? " residual" : "");
    // A statistic's last bits follow from sums that fp32 rounds: rstd up to 1/√eps.
    check_operand(&c, ROLE_OUT, type, fill, N, C, 0, 0);
    check_operand(&c, rms ? ROLE_IN : ROLE_OUT, DTYPE_F32, fill, N, 0, 0, 0);
    check_operand(&c, ROLE_OUT, DTYPE_F32, fill, N, 0, 0, 0);
    check_operand(&c, residual ? ROLE_OUT : ROLE_IN, type, fill, N, C, 0, 0)->stored =
            residual;
    check_operand(&c, ROLE_IN, type, fill, N, C, 0, 0);
    check_operand(&c, ROLE_IN, type, fill, N, C, 0, 0);
    check_operand(&c, ROLE_IN, type, FILL_NORMAL, C, 0, 0, 0);
    check_operand(&c, ROLE_IN, type, FILL_NORMAL, C, 0, 0, 0);
    if (fill == FILL_LARGE) {
        c.absolute = 2e-5;
    }
    if (residual && type != DTYPE_F32) {
        // The stored sum is rounded before it is normalised, the truth's is not.
        c.absolute += 8 * check_half_ulp(type);
        c.relative += 8 * check_half_ulp(type);
    }
    c.bytes = (double)(N * C * (residual ? 4 : 2)) * (double)dtype_size(type);
    c.flops = 8 * (double)(N * C);
    check_run(check, &c);
}

// What a norm's input gradient is added to: nothing, itself, or another tensor.
enum added { ADDED_NOTHING, ADDED_IN_PLACE, ADDED_APART };

static const struct tensor *added_to(const struct check_case *c, struct tensor *t) {
    return c->number[0] == ADDED_NOTHING    ? NULL
           : c->number[0] == ADDED_IN_PLACE ? &t[0]
                                            : &t[9];
}

static bool layernorm_backward(const struct check_case *c, const struct kernels *k,
        struct stream *stream, struct tensor *t, struct kernel_error *err) {
    return k->layernorm_backward(stream, &t[0], &t[1], &t[2], &t[3], added_to(c, t),
            &t[4], &t[5], &t[6], &t[7], &t[8], c->number[0] == ADDED_IN_PLACE, err);
}

static bool rmsnorm_backward(const struct check_case *c, const struct kernels *k,
        struct stream *stream, struct tensor *t, struct kernel_error *err) {
    return k->rmsnorm_backward(stream, &t[0], &t[1], &t[3], added_to(c, t), &t[4],
            &t[5], &t[7], &t[8], c->number[0] == ADDED_IN_PLACE, err);
}

static size_t norm_scratch(const struct check_case *c, const struct kernels *k, int i) {
    (void)i;
    return k->norm_scratch(c->number[1], c->number[2], 16);
}

static void run_norm_backward(struct check *check, bool rms, enum dtype type,
        enum dtype gradient, enum added added, int64_t N, int64_t C) {
    bool accumulate = added == ADDED_IN_PLACE;
    struct check_case c = {.op = rms ? "rmsnorm_backward" : "layernorm_backward",
            .type = type,
            .call = rms ? rmsnorm_backward : layernorm_backward,
            .scratch = norm_scratch,
            .number = {added, N, C},
            .absolute = 1e-5,
            .relative = 1e-5};
    enum role out = accumulate ? ROLE_IN_OUT : ROLE_OUT;
    snprintf(c.shape, sizeof(c.shape), "%lldx%lld%s", (long long)N, (long long)C,
            accumulate             ? " accumulate"
            : added == ADDED_APART ? " apart"
                                   : "");
    check_operand(&c, out, type, FILL_NORMAL, N, C, 0, 0);
    check_operand(&c, out, gradient, FILL_NORMAL, C, 0, 0, 0);
    check_operand(&c, rms ? ROLE_IN : out, gradient, FILL_NORMAL, C, 0, 0, 0);
    check_operand(&c, ROLE_SCRATCH, DTYPE_U8, FILL_ZERO, 1, 0, 0, 0);
    check_operand(&c, ROLE_IN, type, FILL_NORMAL, N, C, 0, 0);
    check_operand(&c, ROLE_IN, type, FILL_NORMAL, N, C, 0, 0);
    check_operand(&c, ROLE_IN, DTYPE_F32, FILL_NORMAL, N, 0, 0, 0);
    check_operand(&c, ROLE_IN, DTYPE_F32, FILL_POSITIVE, N, 0, 0, 0);
    check_operand(&c, ROLE_IN, type, FILL_NORMAL, C, 0, 0, 0);
    check_operand(&c, ROLE_IN, type, FILL_NORMAL, N, C, 0, 0);
    c.absolute += 1e-6 * sqrt((double)N) * 4;
    c.bytes = (added ? 4 : 3) * (double)(N * C) * (double)dtype_size(type);
    c.flops = 16 * (double)(N * C);
    check_run(check, &c);
}

static bool classifier(const struct check_case *c, const struct kernels *k,
        struct stream *stream, struct tensor *t, struct kernel_error *err) {
    const struct tensor *control = c->number[1] ? &t[4] : NULL;
    return k->classifier(stream, &t[0], &t[1], &t[2], &t[3], control, c->number[0],
            c->number[1], (float)c->factor, err);
}

static void run_classifier(struct check *check, enum dtype type, enum fill fill,
        bool gradient, int64_t N, int64_t V, int64_t vocab) {
    struct check_case c = {.op = "classifier",
            .type = type,
            .call = classifier,
            .number = {vocab, gradient},
            .factor = 0.125,
            .absolute = 2e-6,
            .relative = 3e-6};
    snprintf(c.shape, sizeof(c.shape), "%lldx%lld of %lld%s", (long long)N,
            (long long)V, (long long)vocab, gradient ? " gradient" : "");
    check_operand(&c, ROLE_OUT, DTYPE_F32, fill, N, 0, 0, 0);
    check_operand(&c, ROLE_OUT, DTYPE_F32, fill, N, 0, 0, 0);
    check_operand(&c, ROLE_IN_OUT, type, fill, N, V, 0, 0);
    check_operand(&c, ROLE_IN, DTYPE_I32, FILL_TARGET, N, 0, 0, 0)->below = vocab;
    check_operand(&c, ROLE_IN, DTYPE_F32, FILL_CONTROL, CONTROL_COUNT, 0, 0, 0);
    c.bytes = 2 * (double)(N * V) * (double)dtype_size(type);
    c.flops = 30 * (double)(N * V);
    check_run(check, &c);
}

static bool loss_sum(const struct check_case *c, const struct kernels *k,
        struct stream *stream, struct tensor *t, struct kernel_error *err) {
    return k->loss_sum(
            stream, &t[0], &t[1], &t[2], (float)c->factor, c->number[0], err);
}

static void run_loss_sum(struct check *check, bool accumulate, int64_t N) {
    struct check_case c = {.op = "loss_sum",
            .type = DTYPE_F32,
            .call = loss_sum,
            .number = {accumulate},
            .factor = 1. / (double)N,
            .relative = 1e-6};
    snprintf(c.shape, sizeof(c.shape), "%lld%s", (long long)N,
            accumulate ? " accumulate" : "");
    check_operand(&c, ROLE_IN_OUT, DTYPE_F32, FILL_CONTROL, CONTROL_COUNT, 0, 0, 0);
    check_operand(&c, ROLE_IN, DTYPE_F32, FILL_POSITIVE, N, 0, 0, 0);
    check_operand(&c, ROLE_IN, DTYPE_F32, FILL_POSITIVE, N, 0, 0, 0);
    c.flops = 2 * (double)N;
    c.bytes = 8 * (double)N;
    check_run(check, &c);
}

static bool wanted(const char *op, const char *name) {
    return !op || strcmp(op, name) == 0;
}

static void check_norms(struct check *check, const char *op, enum dtype type) {
    static const enum fill fills[] = {FILL_NORMAL, FILL_LARGE, FILL_ZERO, FILL_TINY};
    static const char *forward[] = {"layernorm_forward", "rmsnorm_forward"};
    static const char *backward[] = {"layernorm_backward", "rmsnorm_backward"};
    for (int rms = 0; rms < 2; rms++) {
        if (check->bench) {
            if (wanted(op, forward[rms])) {
                run_norm_forward(check, rms, type, FILL_NORMAL, true, 768, 128);
            }
            if (wanted(op, backward[rms])) {
                run_norm_backward(check, rms, type, type, ADDED_IN_PLACE, 768, 128);
            }
            continue;
        }
        for (int i = 0; i < 8 && wanted(op, forward[rms]); i++) {
            bool residual = i & 1;
            run_norm_forward(check, rms, type, fills[i / 2], residual, 5, 17);
            run_norm_forward(check, rms, type, fills[i / 2], residual, 1, 8);
            run_norm_forward(check, rms, type, fills[i / 2], residual, 37, 1029);
            if (check->device) {
                run_norm_forward(check, rms, type, fills[i / 2], residual, 130, 768);
            }
        }
        for (int i = 0; i < 3 && wanted(op, backward[rms]); i++) {
            run_norm_backward(check, rms, type, type, i, 5, 17);
            run_norm_backward(check, rms, type, DTYPE_F32, i, 1, 8);
            run_norm_backward(check, rms, type, type, i, 70, 1029);
            if (check->device) {
                run_norm_backward(check, rms, type, DTYPE_F32, i, 1500, 264);
                run_norm_backward(check, rms, type, type, i, 700, 768);
            }
        }
    }
}

static void check_embeddings(struct check *check, const char *op, enum dtype type) {
    static const int64_t shapes[][4] = {{3, 5, 7, 9}, {1, 1, 1, 8}, {2, 33, 1000, 40},
            {4, 16, 11, 1030},
            // On a device: a token that fills many blocks, many rows that none names.
            {8, 512, 3, 128}, {5, 301, 9001, 72}, {8, 512, 3, 2056}};
    static const int64_t timed[4] = {12, 64, 256, 128};
    for (int backward = 0; backward < 2; backward++) {
        if (!wanted(op, backward ? "embedding_backward" : "embedding_forward")) {
            continue;
        }
        if (check->bench) {
            run_embedding(check, type, backward, true, false, timed);
            continue;
        }
        for (int i = 0; i < (check->device ? 28 : 16); i++) {
            run_embedding(
                    check, type, backward, i & 1, backward && i & 2, shapes[i / 4]);
        }
    }
}

static void check_classifiers(struct check *check, enum dtype type) {
    if (check->bench) {
        run_classifier(check, type, FILL_NORMAL, true, 768, 256, 256);
        run_classifier(check, type, FILL_NORMAL, true, 64, 50304, 50257);
        return;
    }
    static const enum fill fills[] = {FILL_NORMAL, FILL_LARGE, FILL_ZERO, FILL_TINY};
    for (int i = 0; i < 8; i++) {
        run_classifier(check, type, fills[i / 2], i & 1, 19, 64, 64);
        run_classifier(check, type, fills[i / 2], i & 1, 19, 64, 51);
        run_classifier(check, type, fills[i / 2], i & 1, 1, 1, 1);
        run_classifier(check, type, fills[i / 2], i & 1, 23, 2176, 2050);
        run_classifier(check, type, fills[i / 2], i & 1, 2, 2176, 1000);
        if (check->device) {
            run_classifier(check, type, fills[i / 2], i & 1, 17, 50304, 50257);
            run_classifier(check, type, fills[i / 2], i & 1, 300, 640, 513);
        }
    }
}

static void bench_yardstick(
        struct check *check, const char *op, const struct yardstick *y) {
    const int64_t embedding[] = {y->batch, y->seq_len, y->vocab_rows, y->channels};
    int64_t M = yardsticks_tokens(y);
    enum dtype type = DTYPE_BF16;
    for (int backward = 0; backward < 2; backward++) {
        if (wanted(op, backward ? "embedding_backward" : "embedding_forward")) {
            run_embedding(check, type, backward, !y->llama, false, embedding);
        }
    }
    if (wanted(op, y->llama ? "rmsnorm_forward" : "layernorm_forward")) {
        run_norm_forward(check, y->llama, type, FILL_NORMAL, true, M, y->channels);
    }
    if (wanted(op, y->llama ? "rmsnorm_backward" : "layernorm_backward")) {
        run_norm_backward(check, y->llama, type, type, ADDED_IN_PLACE, M, y->channels);
    }
    if (wanted(op, "classifier")) {
        run_classifier(check, type, FILL_NORMAL, true, M, y->vocab_rows, y->vocab);
    }
    if (wanted(op, "loss_sum")) {
        run_loss_sum(check, false, M);
    }
}

void check_rows(struct check *check, const char *op) {
    static const enum dtype types[] = {DTYPE_F32, DTYPE_BF16, DTYPE_F16};
    for (int i = 0; check->device && check->bench && i < YARDSTICKS; i++) {
        bench_yardstick(check, op, &yardsticks[i]);
    }
    if (check->device && check->bench) {
        return;
    }
    for (int t = 0; t < 3; t++) {
        check_embeddings(check, op, types[t]);
        check_norms(check, op, types[t]);
        if (wanted(op, "classifier")) {
            check_classifiers(check, types[t]);
        }
    }
    for (int accumulate = 0; accumulate < 2 && wanted(op, "loss_sum"); accumulate++) {
        if (check->bench) {
            run_loss_sum(check, accumulate, 768);
            continue;
        }
        run_loss_sum(check, accumulate, 1);
        run_loss_sum(check, accumulate, 1031);
        run_loss_sum(check, accumulate, 16384);
    }
}

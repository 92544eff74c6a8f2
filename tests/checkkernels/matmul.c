#include <math.h>
#include <stdio.h>
#include <string.h>

#include "tests/checkkernels/check.h"
#include "tests/checkkernels/yardsticks.h"

enum { OUT, X, WEIGHT, BIAS, SCRATCH };

static bool forward(const struct check_case *c, const struct kernels *k,
        struct stream *stream, struct tensor *t, struct kernel_error *err) {
    const struct tensor *bias = c->number[3] ? &t[BIAS] : NULL;
    return k->matmul_forward(
            stream, &t[OUT], &t[SCRATCH], &t[X], &t[WEIGHT], bias, err);
}

static bool backward_input(const struct check_case *c, const struct kernels *k,
        struct stream *stream, struct tensor *t, struct kernel_error *err) {
    return k->matmul_backward_input(
            stream, &t[X], &t[SCRATCH], &t[OUT], &t[WEIGHT], c->number[3], err);
}

static bool backward_weight(const struct check_case *c, const struct kernels *k,
        struct stream *stream, struct tensor *t, struct kernel_error *err) {
    return k->matmul_backward_weight(stream, &t[WEIGHT], &t[BIAS], &t[SCRATCH], &t[OUT],
            &t[X], c->number[3], err);
}

static size_t scratch(const struct check_case *c, const struct kernels *k, int i) {
    (void)i;
    return k->matmul_scratch(
            c->number[0], c->number[1], c->number[2], c->type, (int)c->number[4]);
}

// Which of forward's operands each product writes, and with which sum it errs.
static void run_product(struct check *check, int which, enum dtype type,
        enum dtype gradient, const int64_t *s, bool flag) {
    static const char *names[] = {
            "matmul_forward", "matmul_backward_input", "matmul_backward_weight"};
    static const int written[] = {OUT, X, WEIGHT};
    struct check_case c = {.op = names[which],
            .type = type,
            .scratch = scratch,
            .call = which == 0   ? forward
                    : which == 1 ? backward_input
                                 : backward_weight,
            .number = {s[0], s[1], s[2], flag, 16}};
    int64_t M = s[0], N = s[1], K = s[2], depth = which == 0 ? K : which == 1 ? N : M;
    snprintf(c.shape, sizeof(c.shape), "%lldx%lldx%lld%s", (long long)M, (long long)N,
            (long long)K, flag ? which ? " accumulate" : " bias" : "");
    check_operand(&c, ROLE_IN, type, FILL_NORMAL, M, N, 0, 0);
    check_operand(&c, ROLE_IN, type, FILL_NORMAL, M, K, 0, 0);
    check_operand(&c, ROLE_IN, type, FILL_NORMAL, N, K, 0, 0);
    check_operand(&c, ROLE_IN, type, FILL_NORMAL, N, 0, 0, 0);
    check_operand(&c, ROLE_SCRATCH, DTYPE_U8, FILL_ZERO, 1, 0, 0, 0);
    struct operand *out = &c.operands[written[which]];
    out->role = flag && which ? ROLE_IN_OUT : ROLE_OUT;
    if (which == 2) {
        out->type = gradient;
        c.operands[BIAS].type = gradient;
        c.operands[BIAS].role = out->role;
    }
    // Sums walk at random to √depth, and so do their rounding errors.
    c.absolute = 2 * 0x1p-24 * (double)depth + 1e-6;
    c.relative = 1e-6;
    if (check->device) {
        c.absolute *= 4; // sums in another order; tensor cores cut what they add
    }
    if (check->device && flag && type != DTYPE_F32) {
        // The library may round a product before it adds the bias or what was there;
        // products reach about three times √depth.
        c.absolute += check_half_ulp(type) * 3 * sqrt((double)depth);
    }
    if (check->device && check->tf32) {
        // Operands lose up to 13 bits, to nearest or towards 0.
        c.absolute += 0x1p-8 * sqrt((double)depth);
        c.relative += 0x1p-9;
    }
    static const enum matmul_kind kinds[] = {
            MATMUL_FORWARD, MATMUL_BACKWARD_INPUT, MATMUL_BACKWARD_WEIGHT};
    struct matmul_problem problem = {.kind = kinds[which],
            .m = M,
            .n = N,
            .k = K,
            .type = type,
            .grad = gradient,
            .bias = which == 2 || (which == 0 && flag),
            .accumulate = which && flag};
    c.flops = 2 * (double)M * (double)N * (double)K;
    c.tune = c.flops > 4e6 ? &problem : NULL; // tuning takes its time
    c.bytes = (double)(M * N + M * K + N * K) * (double)dtype_size(type);
    check_run(check, &c);
}

static bool wanted(const char *op, int which) {
    static const char *names[] = {
            "matmul_forward", "matmul_backward_input", "matmul_backward_weight"};
    return !op || strcmp(op, names[which]) == 0;
}

// On a device tiles are larger, and sums may be cut among blocks.
static void check_large(struct check *check, int which, enum dtype type) {
    static const int64_t large[][3] = {
            {256, 384, 128}, {509, 131, 257}, {264, 264, 1024}, {3000, 24, 40}};
    for (size_t i = 0; i < sizeof(large) / sizeof(*large); i++) {
        run_product(check, which, type, type, large[i], i % 2);
        if (which == 2 && type != DTYPE_F32) {
            run_product(check, which, type, DTYPE_F32, large[i], i % 2);
        }
    }
}

// The products of each yardstick's layer and its head, in bf16.
static void bench_yardsticks(struct check *check, int which) {
    for (int i = 0; i < YARDSTICKS; i++) {
        const struct yardstick *y = &yardsticks[i];
        int64_t M = yardsticks_tokens(y), C = y->channels, F = y->hidden;
        const int64_t products[][3] = {{M, 3 * C, C}, {M, C, C},
                {M, y->llama ? 2 * F : F, C}, {M, C, F}, {M, y->vocab_rows, C}};
        for (size_t p = 0; p < sizeof(products) / sizeof(*products); p++) {
            run_product(check, which, DTYPE_BF16, DTYPE_BF16, products[p], false);
        }
    }
}

void check_matmul(struct check *check, const char *op) {
    static const enum dtype types[] = {DTYPE_F32, DTYPE_BF16, DTYPE_F16};
    static const int64_t small[][3] = {{1, 1, 1}, {5, 3, 7}, {13, 33, 65}, {48, 32, 64},
            {49, 130, 67}, {100, 17, 300}, {61, 96, 256}, {2, 515, 40}, {97, 64, 513}};
    static const int64_t timed[][3] = {{768, 384, 128}, {768, 128, 128},
            {768, 512, 128}, {768, 128, 512}, {768, 256, 128}, {1024, 1024, 1024}};
    for (int which = 0; which < 3; which++) {
        if (check->device && check->bench) {
            if (wanted(op, which)) {
                bench_yardsticks(check, which);
            }
            continue;
        }
        for (int t = 0; t < (check->tf32 ? 1 : 3) && wanted(op, which); t++) {
            for (size_t i = 0; check->bench && i < sizeof(timed) / sizeof(*timed);
                    i++) {
                run_product(check, which, types[t], types[t], timed[i], false);
            }
            if (check->device) {
                check_large(check, which, types[t]);
            }
            for (size_t i = 0; !check->bench && i < sizeof(small) / sizeof(*small);
                    i++) {
                run_product(check, which, types[t], types[t], small[i], false);
                run_product(check, which, types[t], types[t], small[i], true);
                if (which == 2 && types[t] != DTYPE_F32) {
                    run_product(check, which, types[t], DTYPE_F32, small[i], true);
                }
            }
        }
    }
}

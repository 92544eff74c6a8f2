#include <assert.h>
#include <string.h>

#include "worker/reduce.h"

enum {
    BLOCK = 1024
}; // elements summed at once; the sums stay in the first-level cache

/* Where the sums go. */
struct target {
    void *const *parts;
    int n;
};

static float from_bits(uint32_t bits) {
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

static uint32_t to_bits(float x) {
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

static uint16_t bf16_round(float x) {
    uint32_t bits = to_bits(x);
    uint32_t rounded = (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
    uint32_t quiet = bits >> 16 | 0x40; // rounding could turn a NaN into infinity
    return (uint16_t)((bits & 0x7fffffff) > 0x7f800000 ? quiet : rounded);
}

static float f16_widen(uint16_t half) {
    uint32_t sign = (uint32_t)(half & 0x8000) << 16;
    uint32_t rest = half & 0x7fff;
    if (rest >= 0x7c00) { // infinity, NaN
        return from_bits(sign | 0x7f800000 | (rest & 0x3ff) << 13);
    }
    if (rest < 0x400) { // zero, subnormal: a multiple of 2^−24
        float x = (float)rest * 0x1p-24f;
        return sign ? -x : x;
    }
    return from_bits(sign | ((rest << 13) + (112u << 23)));
}

static uint16_t f16_round(float x) {
    uint32_t bits = to_bits(x);
    uint16_t sign = (uint16_t)(bits >> 16 & 0x8000);
    uint32_t rest = bits & 0x7fffffff;
    if (rest > 0x7f800000) {
        return sign | 0x7e00;
    }
    if (rest >= 0x477ff000) { // 65520 and more round to infinity
        return sign | 0x7c00;
    }
    if (rest < 0x38800000) {
        // Below 2^−14 the unit is 2^−24: adding 0.5, whose unit that is, rounds.
        return sign | (uint16_t)(to_bits(from_bits(rest) + 0.5f) - 0x3f000000);
    }
    rest += 0xfff + (rest >> 13 & 1);
    return sign | (uint16_t)((rest >> 13) - (112u << 10));
}

static void sum_f32(const struct target *to, void *const *parts, int n, int64_t start,
        int64_t count) {
    float sums[BLOCK];
    memcpy(sums, (const float *)parts[0] + start, (size_t)count * sizeof *sums);
    for (int p = 1; p < n; p++) {
        const float *part = (const float *)parts[p] + start;
        for (int64_t i = 0; i < count; i++) {
            sums[i] += part[i];
        }
    }
    for (int p = 0; p < to->n; p++) {
        memcpy((float *)to->parts[p] + start, sums, (size_t)count * sizeof *sums);
    }
}

static void sum_f64(const struct target *to, void *const *parts, int n, int64_t start,
        int64_t count) {
    double sums[BLOCK];
    memcpy(sums, (const double *)parts[0] + start, (size_t)count * sizeof *sums);
    for (int p = 1; p < n; p++) {
        const double *part = (const double *)parts[p] + start;
        for (int64_t i = 0; i < count; i++) {
            sums[i] += part[i];
        }
    }
    for (int p = 0; p < to->n; p++) {
        memcpy((double *)to->parts[p] + start, sums, (size_t)count * sizeof *sums);
    }
}

static void sum_bf16(const struct target *to, void *const *parts, int n, int64_t start,
        int64_t count) {
    float sums[BLOCK];
    uint16_t rounded[BLOCK];
    const uint16_t *first = (const uint16_t *)parts[0] + start;
    for (int64_t i = 0; i < count; i++) {
        sums[i] = from_bits((uint32_t)first[i] << 16);
    }
    for (int p = 1; p < n; p++) {
        const uint16_t *part = (const uint16_t *)parts[p] + start;
        for (int64_t i = 0; i < count; i++) {
            sums[i] += from_bits((uint32_t)part[i] << 16);
        }
    }
    for (int64_t i = 0; i < count; i++) {
        rounded[i] = bf16_round(sums[i]);
    }
    for (int p = 0; p < to->n; p++) {
        memcpy((uint16_t *)to->parts[p] + start, rounded,
                (size_t)count * sizeof *rounded);
    }
}

static void sum_f16(const struct target *to, void *const *parts, int n, int64_t start,
        int64_t count) {
    float sums[BLOCK];
    uint16_t rounded[BLOCK];
    const uint16_t *first = (const uint16_t *)parts[0] + start;
    for (int64_t i = 0; i < count; i++) {
        sums[i] = f16_widen(first[i]);
    }
    for (int p = 1; p < n; p++) {
        const uint16_t *part = (const uint16_t *)parts[p] + start;
        for (int64_t i = 0; i < count; i++) {
            sums[i] += f16_widen(part[i]);
        }
    }
    for (int64_t i = 0; i < count; i++) {
        rounded[i] = f16_round(sums[i]);
    }
    for (int p = 0; p < to->n; p++) {
        memcpy((uint16_t *)to->parts[p] + start, rounded,
                (size_t)count * sizeof *rounded);
    }
}

bool reduce_supports(enum dtype type) {
    return type == DTYPE_F32 || type == DTYPE_BF16 || type == DTYPE_F16 ||
           type == DTYPE_F64;
}

static void sum(const struct target *to, void *const *parts, int n, int64_t count,
        enum dtype type) {
    assert(reduce_supports(type) && n >= 1);
    void (*add)(const struct target *, void *const *, int, int64_t, int64_t) =
            type == DTYPE_F32    ? sum_f32
            : type == DTYPE_F64  ? sum_f64
            : type == DTYPE_BF16 ? sum_bf16
                                 : sum_f16;
    for (int64_t start = 0; start < count; start += BLOCK) {
        add(to, parts, n, start, count - start < BLOCK ? count - start : BLOCK);
    }
}

void reduce_sum(void *const *parts, int n, int64_t count, enum dtype type) {
    struct target all = {parts, n};
    sum(&all, parts, n, count, type);
}

void reduce_sum_into(
        void *to, void *const *parts, int n, int64_t count, enum dtype type) {
    struct target one = {&to, 1};
    sum(&one, parts, n, count, type);
}

/*
 * What the CPU kernels share. Every file of kernels/cpu but cpu.c is built once for
 * each instruction set that the compiler knows on this architecture; CPU(name) gives
 * each build its own names. Loops are plain C for the compiler to vectorise; only the
 * matrix product names its vectors.
 */
#ifndef KERNELS_CPU_SIMD_H
#define KERNELS_CPU_SIMD_H

#include <assert.h>
#include <stdint.h>
#include <string.h>
#ifdef _OPENMP
#include <omp.h>
#endif

#include "kernels/convert.h"
#include "kernels/host.h"
#include "kernels/kernels.h"

#if defined(CPU_AVX512)
#define CPU(name) name##_cpu_avx512
#define VECTOR_FLOATS 16
#elif defined(CPU_AVX2)
#define CPU(name) name##_cpu_avx2
#define VECTOR_FLOATS 8
#else
#define CPU(name) name##_cpu
#define VECTOR_FLOATS 4
#endif

#define ALIGNED __attribute__((aligned(64)))

/* A loop's threads: one where its `bytes` are read faster than threads are woken. */
static inline int threads_within(int threads, size_t bytes) {
    return bytes < 65536 ? 1 : threads;
}

static inline int threads_for(const struct stream *stream, size_t bytes) {
    return threads_within(stream->threads, bytes);
}

/* Inside a parallel region: which thread this is, and of how many. */
static inline int thread_index(void) {
#ifdef _OPENMP
    return omp_get_thread_num();
#else
    return 0;
#endif
}

static inline int thread_count(void) {
#ifdef _OPENMP
    return omp_get_num_threads();
#else
    return 1;
#endif
}

/*
 * e^x to 2 units in the last place. Results under the smallest normal number are 0,
 * above the largest infinity; NaN stays.
 */
static inline float fast_exp(float x) {
    const float shift = 0x1.8p23f;                   // adding it rounds to integers
    float clamped = x < -87.33654f ? -87.33654f : x; // ln of the smallest normal
    clamped = clamped > 88.8f ? 88.8f : clamped;     // above ln of the largest
    float rounded = clamped * 0x1.715476p0f + shift;
    float n = rounded - shift;
    float r = clamped - n * 0x1.62e4p-1f - n * 0x1.7f7d1cp-20f; // |r| ≤ ln 2 ÷ 2
    float p = 0x1.6850e4p-10f;
    p = p * r + 0x1.123bccp-7f;
    p = p * r + 0x1.555b98p-5f;
    p = p * r + 0x1.55548ep-3f;
    p = p * r + 0x1.fffff8p-2f;
    p = p * r * r + r;
    // 2^n in two factors: n may be 128, and 2^128 is no float.
    int32_t i = (int32_t)f32_bits(rounded) - (int32_t)f32_bits(shift);
    float half = f32_from_bits((uint32_t)(127 + (i >> 1)) << 23);
    float rest = f32_from_bits((uint32_t)(127 + i - (i >> 1)) << 23);
    float y = (p + 1) * half * rest;
    return x < -87.33654f ? 0 : y;
}

static inline float fast_sigmoid(float x) {
    return 1 / (1 + fast_exp(-x));
}

/* `count` elements of a 16-bit or F32 tensor from `at` on, as floats. */
static inline void load_floats(
        float *restrict to, const struct tensor *t, int64_t at, int64_t count) {
    const uint16_t *half = (const uint16_t *)t->data + at;
    if (t->type == DTYPE_F32) {
        const float *from = (const float *)t->data + at;
#pragma omp simd
        for (int64_t i = 0; i < count; i++) { // rows are short: a call costs more
            to[i] = from[i];
        }
    } else if (t->type == DTYPE_BF16) {
#pragma omp simd
        for (int64_t i = 0; i < count; i++) {
            to[i] = f32_from_bf16(half[i]);
        }
    } else {
#pragma omp simd
        for (int64_t i = 0; i < count; i++) {
            to[i] = f32_from_f16(half[i]);
        }
    }
}

static inline void store_floats(
        const struct tensor *t, int64_t at, const float *restrict from, int64_t count) {
    uint16_t *half = (uint16_t *)t->data + at;
    if (t->type == DTYPE_F32) {
        float *to = (float *)t->data + at;
#pragma omp simd
        for (int64_t i = 0; i < count; i++) {
            to[i] = from[i];
        }
    } else if (t->type == DTYPE_BF16) {
#pragma omp simd
        for (int64_t i = 0; i < count; i++) {
            half[i] = bf16_from_f32(from[i]);
        }
    } else {
#pragma omp simd
        for (int64_t i = 0; i < count; i++) {
            half[i] = f16_from_f32(from[i]);
        }
    }
}

/* Elements that a loop handles at a time, through buffers in the first-level cache. */
#define CHUNK 1024

/* `count` elements from `at` on: where they are if F32, else converted into `room`. */
static inline const float *read_floats(
        float *room, const struct tensor *t, int64_t at, int64_t count) {
    if (t->type == DTYPE_F32) {
        return (const float *)t->data + at;
    }
    load_floats(room, t, at, count);
    return room;
}

/* Where to write elements from `at` on: then hand them to wrote_floats(). */
static inline float *write_floats(float *room, const struct tensor *t, int64_t at) {
    return t->type == DTYPE_F32 ? (float *)t->data + at : room;
}

static inline void wrote_floats(
        const struct tensor *t, int64_t at, const float *values, int64_t count) {
    if (t->type != DTYPE_F32) {
        store_floats(t, at, values, count);
    }
}

static inline int64_t min_of(int64_t a, int64_t b) {
    return a < b ? a : b;
}

#endif

/*
 * What the three attention kernels share: the heads of a packed tensor as matrices, the
 * keys that a query sees, and each thread's room in the scratch.
 */
#ifndef KERNELS_CPU_ATTENTION_H
#define KERNELS_CPU_ATTENTION_H

#include "kernels/cpu/gemm.h"

const struct attention_kernel *CPU(attention)(const char *name);
extern const struct attention_kernel CPU(attention_naive);
extern const struct attention_kernel CPU(attention_fused);
extern const struct attention_kernel CPU(attention_flash);

/* Element (t, d) of head `head` of batch b; heads count through all H + 2G of a packed
 * tensor, or the H of an output. */
static inline struct gemm_matrix head_rows(
        const struct tensor *t, int64_t b, int64_t head, bool tf32) {
    int64_t T = t->size[1], heads = t->size[2], D = t->size[3];
    return (struct gemm_matrix){t, (b * T * heads + head) * D, heads * D, 1, tf32};
}

/* The same, as (d, t). */
static inline struct gemm_matrix head_columns(
        const struct tensor *t, int64_t b, int64_t head, bool tf32) {
    struct gemm_matrix m = head_rows(t, b, head, tf32);
    m.column = m.row;
    m.row = 1;
    return m;
}

/* First key that query i sees. */
static inline int64_t first_seen(const struct attention_shape *s, int64_t i) {
    return s->window > 0 && i >= s->window ? i - s->window + 1 : 0;
}

/* The key/value head, counted through all of qkv, of query head h. */
static inline int64_t key_head(const struct attention_shape *s, int64_t h) {
    return s->heads + h / (s->heads / s->kv_heads);
}

static inline float attention_scale(const struct attention_shape *s) {
    return 1 / __builtin_sqrtf((float)s->head_dim);
}

static inline bool is_tf32(const struct stream *stream, const struct tensor *t) {
    return stream->options.math == MATH_TF32 && t->type == DTYPE_F32;
}

/* What a product will read of `count` floats that a kernel computed itself. */
static inline void round_operand(float *values, int64_t count, bool tf32) {
    if (tf32) {
#pragma omp simd
        for (int64_t i = 0; i < count; i++) {
            values[i] = f32_to_tf32(values[i]);
        }
    }
}

/* Write [T, D] floats as head `head` of a packed gradient. */
static inline void store_head(const struct tensor *t, int64_t b, int64_t head,
        const float *from, int64_t first, int64_t rows) {
    int64_t T = t->size[1], heads = t->size[2], D = t->size[3];
    for (int64_t i = 0; i < rows; i++) {
        store_floats(t, ((b * T + first + i) * heads + head) * D, from + i * D, D);
    }
}

/* Rooms end with what is always written whole, so that the plan's last bytes are used.
 * `count` floats rounded up to 64 bytes, and taking so many from a thread's room. */
static inline size_t padded(size_t count) {
    return (count + 15) / 16 * 16;
}

static inline float *take(float **room, size_t count) {
    float *taken = *room;
    *room += padded(count);
    return taken;
}

/* Threads that share `items` heads. plan() and the kernels must agree. */
static inline int attention_threads(
        int threads, const struct attention_shape *s, enum dtype type, int64_t items) {
    int64_t heads = s->heads + 2 * s->kv_heads;
    int64_t count = s->batch * s->seq_len * heads * s->head_dim;
    threads = threads_within(threads, (size_t)count * dtype_size(type));
    return items < threads ? (int)items : threads;
}

/* Bytes of a room of `floats` for each of them. */
static inline size_t rooms_bytes(int threads, const struct attention_shape *s,
        enum dtype type, int64_t items, size_t floats) {
    return (size_t)attention_threads(threads, s, type, items) * floats * sizeof(float);
}

/* This thread's room of `floats` (padded) in a kernel's scratch. */
static inline float *thread_room(const struct tensor *scratch, size_t floats) {
    size_t at = (size_t)thread_index() * floats;
    assert(tensor_bytes(scratch) >= (at + floats) * sizeof(float));
    return (float *)scratch->data + at;
}

/* Keys [j, j + n) that row i sees, relative to j: from *low up to *high. */
static inline void seen(const struct attention_shape *s, int64_t i, int64_t j,
        int64_t n, int64_t *low, int64_t *high) {
    int64_t first = first_seen(s, i) - j;
    *low = min_of(first > 0 ? first : 0, n);
    *high = min_of(i - j + 1, n);
    *high = *high < *low ? *low : *high;
}

/*
 * The next two work on whole vectors and throw away what is not seen: a causal row ends
 * anywhere, and a scalar exp for each element past the last vector costs more than the
 * vectors. Only a row's own last n % VECTOR_FLOATS elements are scalar.
 */

/* Scores of a row become e^(score·scale − highest) where seen, else 0; their sum. */
static inline float exponentials(
        float *row, int64_t low, int64_t high, int64_t n, float scale, float highest) {
    float sums[VECTOR_FLOATS] ALIGNED = {0}, sum = 0;
    int64_t v = 0;
    for (; v + VECTOR_FLOATS <= n; v += VECTOR_FLOATS) {
        float *at = row + v;
        if (v + VECTOR_FLOATS <= low || v >= high) {
            memset(at, 0, sizeof(sums));
            continue;
        }
        int first = (int)(low - v), end = (int)(high - v);
#pragma omp simd
        for (int l = 0; l < VECTOR_FLOATS; l++) {
            float e = fast_exp(at[l] * scale - highest);
            at[l] = l >= first && l < end ? e : 0;
            sums[l] += at[l];
        }
    }
    for (; v < n; v++) {
        row[v] = v >= low && v < high ? fast_exp(row[v] * scale - highest) : 0;
        sum += row[v];
    }
    for (int l = 0; l < VECTOR_FLOATS; l++) {
        sum += sums[l];
    }
    return sum;
}

/* The largest score seen of a row of n; NaN is passed over. */
static inline float largest(const float *row, int64_t low, int64_t high, int64_t n) {
    float bests[VECTOR_FLOATS] ALIGNED, best = -__builtin_inff();
    for (int l = 0; l < VECTOR_FLOATS; l++) {
        bests[l] = best;
    }
    int64_t v = low / VECTOR_FLOATS * VECTOR_FLOATS;
    for (; v < high && v + VECTOR_FLOATS <= n; v += VECTOR_FLOATS) {
        const float *at = row + v;
        int first = (int)(low - v), end = (int)(high - v);
#pragma omp simd
        for (int l = 0; l < VECTOR_FLOATS; l++) {
            float x = l >= first && l < end ? at[l] : -__builtin_inff();
            bests[l] = x > bests[l] ? x : bests[l];
        }
    }
    for (; v < high; v++) {
        best = v >= low && row[v] > best ? row[v] : best;
    }
    for (int l = 0; l < VECTOR_FLOATS; l++) {
        best = bests[l] > best ? bests[l] : best;
    }
    return best;
}

static inline void multiply_row(float *row, int64_t count, float factor) {
#pragma omp simd
    for (int64_t i = 0; i < count; i++) {
        row[i] *= factor;
    }
}

#endif

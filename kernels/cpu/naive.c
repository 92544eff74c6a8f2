/*
 * Attention as the textbook has it, one step after the other over whole matrices:
 * scores, scale, mask, softmax, product. Scores and probabilities are kept in the type
 * of the tensors, backward also dP and dS.
 */
#include <math.h>

#include "kernels/cpu/attention.h"

enum { ROWS = GEMM_ROWS };

// Floats of a thread's room: a packed operand, rows of A and of C, and sums [T, D].
static size_t thread_floats(const struct attention_shape *s) {
    int64_t T = s->seq_len, D = s->head_dim, wide = T > D ? T : D;
    size_t keys = gemm_packed(D, T), rows = gemm_packed(T, D);
    return padded(keys > rows ? keys : rows) + 2 * padded((size_t)(ROWS * wide)) +
           padded((size_t)(T * D));
}

static size_t square_bytes(const struct attention_shape *s, enum dtype type) {
    size_t rows = (size_t)(s->batch * s->heads * s->seq_len);
    return (rows * (size_t)s->seq_len * dtype_size(type) + 63) / 64 * 64;
}

static bool plan(const struct attention_shape *s, enum dtype type, int threads,
        struct attention_memory *out, struct kernel_error *err) {
    (void)err;
    size_t square = square_bytes(s, type);
    size_t rooms = rooms_bytes(threads, s, type, s->batch * s->heads, thread_floats(s));
    *out = (struct attention_memory){
            .saved = square,
            .forward_scratch = square + rooms,
            .backward_scratch = 2 * square + rooms,
    };
    return true;
}

// All heads' [T, T] matrices in memory at `data`.
static struct tensor squares(
        void *data, const struct attention_shape *s, enum dtype type) {
    int64_t T = s->seq_len;
    return (struct tensor){data, type, 4, {s->batch, s->heads, T, T}};
}

// Head bh of them: as it is, and transposed.
static struct gemm_matrix square(const struct tensor *t, int64_t bh, bool tf32) {
    int64_t T = t->size[3];
    return (struct gemm_matrix){t, bh * T * T, T, 1, tf32};
}

static struct gemm_matrix transposed(const struct tensor *t, int64_t bh, bool tf32) {
    int64_t T = t->size[3];
    return (struct gemm_matrix){t, bh * T * T, 1, T, tf32};
}

struct rooms {
    struct tensor tensor; // behind the squares in the scratch
    size_t floats;
};

static struct rooms rooms_behind(
        const struct tensor *scratch, size_t bytes, const struct attention_shape *s) {
    struct rooms r = {.tensor = *scratch, .floats = thread_floats(s)};
    r.tensor.data = (char *)scratch->data + bytes;
    r.tensor.size[0] -= (int64_t)bytes;
    return r;
}

// The packed operand of a product lies at the end of the room, so that the plan's last
// bytes are used.
static float *panels_at(const struct rooms *rooms, size_t packed) {
    return thread_room(&rooms->tensor, rooms->floats) + rooms->floats - padded(packed);
}

// c[m, n] = a[m, k]·b[k, n] into rows of a tensor, `stride` elements apart from `at`
// on.
static void product(const struct tensor *c, int64_t at, int64_t stride,
        const struct gemm_matrix *a, const struct gemm_matrix *b, int64_t m, int64_t n,
        int64_t k, const struct rooms *rooms) {
    float *room = thread_room(&rooms->tensor, rooms->floats);
    float *panels = panels_at(rooms, gemm_packed(k, n));
    float *converted = take(&room, (size_t)(ROWS * k));
    CPU(gemm_pack_all)(panels, b, k, n);
    for (int64_t i = 0; i < m; i += ROWS) {
        int64_t rows = min_of(ROWS, m - i), row, column;
        const float *from = CPU(gemm_rows)(converted, a, k, i, rows, &row, &column);
        CPU(gemm_block)(room, n, false, NULL, from, row, column, panels, k, rows, n, k);
        for (int64_t r = 0; r < rows; r++) {
            store_floats(c, at + (i + r) * stride, room + r * n, n);
        }
    }
}

// sums[T, D] += a[T, T]·b[T, D]
static void product_sum(float *sums, const struct gemm_matrix *a,
        const struct gemm_matrix *b, int64_t T, int64_t D, float *room,
        const struct rooms *rooms) {
    float *panels = panels_at(rooms, gemm_packed(T, D));
    CPU(gemm_pack_all)(panels, b, T, D);
    for (int64_t i = 0; i < T; i += ROWS) {
        int64_t rows = min_of(ROWS, T - i), row, column;
        const float *from = CPU(gemm_rows)(room, a, T, i, rows, &row, &column);
        CPU(gemm_block)
        (sums + i * D, D, true, NULL, from, row, column, panels, T, rows, D, T);
    }
}

enum pass { PASS_SCALE, PASS_MASK, PASS_SOFTMAX };

// One step over a row of T elements.
static void pass_row(
        enum pass pass, float *row, int64_t i, const struct attention_shape *s) {
    int64_t low, high, T = s->seq_len;
    seen(s, i, 0, T, &low, &high);
    switch (pass) {
    case PASS_SCALE:
        multiply_row(row, T, attention_scale(s));
        break;
    case PASS_MASK:
        for (int64_t j = 0; j < T; j++) {
            row[j] = j < low || j >= high ? -INFINITY : row[j];
        }
        break;
    case PASS_SOFTMAX: {
        float highest = largest(row, 0, T, T);
        float sum = exponentials(row, 0, T, T, 1, highest);
        multiply_row(row, T, 1 / sum);
        break;
    }
    }
}

// One step over every row: out may be in.
static void pass_over(enum pass pass, const struct tensor *out, const struct tensor *in,
        const struct attention_shape *s, int threads, const struct rooms *rooms) {
    int64_t T = s->seq_len;
#pragma omp parallel for schedule(static) num_threads(threads) if (threads > 1)
    for (int64_t row = 0; row < s->batch * s->heads * T; row++) {
        float *values = thread_room(&rooms->tensor, rooms->floats);
        load_floats(values, in, row * T, T);
        pass_row(pass, values, row % T, s);
        store_floats(out, row * T, values, T);
    }
}

static bool forward(struct stream *stream, struct tensor *out, struct tensor *saved,
        struct tensor *scratch, const struct tensor *qkv,
        const struct attention_shape *s, struct kernel_error *err) {
    (void)err;
    int64_t H = s->heads, T = s->seq_len, D = s->head_dim;
    bool tf32 = is_tf32(stream, qkv);
    int threads = attention_threads(stream->threads, s, qkv->type, s->batch * H);
    struct rooms rooms = rooms_behind(scratch, square_bytes(s, qkv->type), s);
    struct tensor scores = squares(scratch->data, s, qkv->type);
    struct tensor p = tensor_given(saved) ? squares(saved->data, s, qkv->type) : scores;
#pragma omp parallel for schedule(static) num_threads(threads) if (threads > 1)
    for (int64_t bh = 0; bh < s->batch * H; bh++) {
        struct gemm_matrix q = head_rows(qkv, bh / H, bh % H, tf32);
        struct gemm_matrix k = head_columns(qkv, bh / H, key_head(s, bh % H), tf32);
        product(&scores, bh * T * T, T, &q, &k, T, T, D, &rooms);
    }
    pass_over(PASS_SCALE, &scores, &scores, s, threads, &rooms);
    pass_over(PASS_MASK, &scores, &scores, s, threads, &rooms);
    pass_over(PASS_SOFTMAX, &p, &scores, s, threads, &rooms);
#pragma omp parallel for schedule(static) num_threads(threads) if (threads > 1)
    for (int64_t bh = 0; bh < s->batch * H; bh++) {
        struct gemm_matrix a = square(&p, bh, tf32),
                           to = head_rows(out, bh / H, bh % H, 0);
        int64_t value = key_head(s, bh % H) + s->kv_heads;
        struct gemm_matrix v = head_rows(qkv, bh / H, value, tf32);
        product(out, to.offset, to.row, &a, &v, T, D, T, &rooms);
    }
    return true;
}

// dS = P × (dP − Σ P·dP) over every row, then the scale in a step of its own.
static void softmax_backward(const struct tensor *ds, const struct tensor *p,
        const struct tensor *dp, const struct attention_shape *s, int threads,
        const struct rooms *rooms) {
    int64_t T = s->seq_len;
#pragma omp parallel for schedule(static) num_threads(threads) if (threads > 1)
    for (int64_t row = 0; row < s->batch * s->heads * T; row++) {
        float *left = thread_room(&rooms->tensor, rooms->floats), mean = 0;
        float *right = left + padded((size_t)T);
        load_floats(left, p, row * T, T);
        load_floats(right, dp, row * T, T);
#pragma omp simd reduction(+ : mean)
        for (int64_t j = 0; j < T; j++) {
            mean += left[j] * right[j];
        }
#pragma omp simd
        for (int64_t j = 0; j < T; j++) {
            right[j] = left[j] * (right[j] - mean);
        }
        store_floats(ds, row * T, right, T);
    }
    pass_over(PASS_SCALE, ds, ds, s, threads, rooms);
}

// dK (from dS and Q) or dV (from P and dO) of one key/value head, over its query heads.
static void sum_heads(struct tensor *dqkv, int64_t head, const struct tensor *weights,
        const struct tensor *rows, const struct attention_shape *s, int64_t b,
        int64_t kv, bool tf32, const struct rooms *rooms) {
    int64_t T = s->seq_len, D = s->head_dim, share = s->heads / s->kv_heads;
    float *room = thread_room(&rooms->tensor, rooms->floats);
    float *sums = take(&room, (size_t)(T * D));
    memset(sums, 0, (size_t)(T * D) * sizeof(*sums));
    for (int64_t h = kv * share; h < (kv + 1) * share; h++) {
        struct gemm_matrix a = transposed(weights, b * s->heads + h, tf32);
        struct gemm_matrix r = head_rows(rows, b, h, tf32);
        product_sum(sums, &a, &r, T, D, room, rooms);
    }
    store_head(dqkv, b, head, sums, 0, T);
}

static bool backward(struct stream *stream, struct tensor *dqkv, struct tensor *scratch,
        const struct tensor *dout, const struct tensor *out, const struct tensor *qkv,
        const struct tensor *saved, const struct attention_shape *s,
        struct kernel_error *err) {
    (void)out;
    (void)err;
    int64_t H = s->heads, G = s->kv_heads, T = s->seq_len, D = s->head_dim;
    bool tf32 = is_tf32(stream, qkv);
    int threads = attention_threads(stream->threads, s, qkv->type, s->batch * H);
    size_t bytes = square_bytes(s, qkv->type);
    struct rooms rooms = rooms_behind(scratch, 2 * bytes, s);
    struct tensor p = squares(saved->data, s, qkv->type);
    struct tensor dp = squares(scratch->data, s, qkv->type);
    struct tensor ds = squares((char *)scratch->data + bytes, s, qkv->type);
#pragma omp parallel for schedule(static) num_threads(threads) if (threads > 1)
    for (int64_t bh = 0; bh < s->batch * H; bh++) {
        struct gemm_matrix d = head_rows(dout, bh / H, bh % H, tf32);
        struct gemm_matrix v = head_columns(qkv, bh / H, key_head(s, bh % H) + G, tf32);
        product(&dp, bh * T * T, T, &d, &v, T, T, D, &rooms);
    }
    softmax_backward(&ds, &p, &dp, s, threads, &rooms);
#pragma omp parallel for schedule(static) num_threads(threads) if (threads > 1)
    for (int64_t bh = 0; bh < s->batch * H; bh++) {
        struct gemm_matrix a = square(&ds, bh, tf32),
                           to = head_rows(dqkv, bh / H, bh % H, 0);
        struct gemm_matrix k = head_rows(qkv, bh / H, key_head(s, bh % H), tf32);
        product(dqkv, to.offset, to.row, &a, &k, T, D, T, &rooms);
    }
#pragma omp parallel for schedule(static) num_threads(threads) if (threads > 1)
    for (int64_t bg = 0; bg < s->batch * G; bg++) {
        int64_t b = bg / G, kv = bg % G;
        sum_heads(dqkv, H + kv, &ds, qkv, s, b, kv, tf32, &rooms);
        sum_heads(dqkv, H + G + kv, &p, dout, s, b, kv, tf32, &rooms);
    }
    return true;
}

const struct attention_kernel CPU(attention_naive) = {"naive", plan, forward, backward};

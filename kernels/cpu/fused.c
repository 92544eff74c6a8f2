/*
 * Attention that keeps its matrix of probabilities, but scales, masks and normalises
 * the scores in one pass between the products, a block of rows at a time. A thread
 * takes a head forward, a key/value head with all its query heads backward.
 */
#include <math.h>

#include "kernels/cpu/attention.h"

enum { ROWS = GEMM_ROWS };

// Floats of a thread's room, forward and backward.
static size_t forward_room(const struct attention_shape *s) {
    int64_t T = s->seq_len, D = s->head_dim;
    return padded(gemm_packed(D, T)) + padded(gemm_packed(T, D)) +
           2 * padded((size_t)(ROWS * D)) + padded((size_t)(ROWS * T));
}

static size_t backward_room(const struct attention_shape *s) {
    int64_t T = s->seq_len, D = s->head_dim;
    return padded(gemm_packed(D, T)) + padded(gemm_packed(T, D)) +
           2 * padded((size_t)(T * D)) + 2 * padded((size_t)(ROWS * D)) +
           2 * padded(gemm_packed(ROWS, D)) + 2 * padded((size_t)(ROWS * T));
}

static bool plan(const struct attention_shape *s, enum dtype type, int threads,
        struct attention_memory *out, struct kernel_error *err) {
    (void)err;
    size_t rows = (size_t)(s->batch * s->heads * s->seq_len);
    int64_t heads = s->batch * s->heads, groups = s->batch * s->kv_heads;
    *out = (struct attention_memory){
            .saved = rows * (size_t)s->seq_len * dtype_size(type),
            .forward_scratch = rooms_bytes(threads, s, type, heads, forward_room(s)),
            .backward_scratch = rooms_bytes(threads, s, type, groups, backward_room(s)),
    };
    return true;
}

// The saved block as a tensor of probabilities [B·H·T, T].
static struct tensor kept(
        const struct tensor *saved, const struct attention_shape *s, enum dtype type) {
    return (struct tensor){
            saved->data, type, 2, {s->batch * s->heads * s->seq_len, s->seq_len}};
}

// A row of T scores into probabilities, zeros where unseen.
static void softmax_row(
        const struct attention_shape *s, float *row, int64_t i, bool tf32) {
    int64_t low, high;
    float scale = attention_scale(s);
    seen(s, i, 0, s->seq_len, &low, &high);
    float highest = largest(row, low, high, s->seq_len) * scale;
    float sum = exponentials(row, low, high, s->seq_len, scale, highest);
    // Whole vectors: what is not seen is 0 and stays so.
    int64_t start = low / VECTOR_FLOATS * VECTOR_FLOATS;
    int64_t end = (high + VECTOR_FLOATS - 1) / VECTOR_FLOATS * VECTOR_FLOATS;
    int64_t count = min_of(end, s->seq_len) - start;
    multiply_row(row + start, count, 1 / sum);
    round_operand(row + start, count, tf32);
}

static void forward_head(struct stream *stream, struct tensor *out,
        const struct tensor *p, float *room, const struct tensor *qkv,
        const struct attention_shape *s, int64_t b, int64_t h) {
    int64_t T = s->seq_len, D = s->head_dim;
    bool tf32 = is_tf32(stream, qkv);
    struct gemm_matrix q = head_rows(qkv, b, h, tf32);
    struct gemm_matrix k = head_columns(qkv, b, key_head(s, h), tf32);
    struct gemm_matrix v = head_rows(qkv, b, key_head(s, h) + s->kv_heads, tf32);
    float *scores_room = take(&room, (size_t)(ROWS * T));
    float *sums = take(&room, (size_t)(ROWS * D));
    float *converted = take(&room, (size_t)(ROWS * D));
    float *keys = take(&room, gemm_packed(D, T));
    float *values = take(&room, gemm_packed(T, D));
    CPU(gemm_pack_all)(keys, &k, D, T);
    CPU(gemm_pack_all)(values, &v, T, D);
    for (int64_t i = 0; i < T; i += ROWS) {
        int64_t rows = min_of(ROWS, T - i), n = i + rows, row, column;
        int64_t at = ((b * s->heads + h) * T + i) * T;
        float *scores = p->data ? write_floats(scores_room, p, at) : scores_room;
        const float *a = CPU(gemm_rows)(converted, &q, D, i, rows, &row, &column);
        CPU(gemm_block)(scores, T, false, NULL, a, row, 1, keys, D, rows, n, D);
        for (int64_t r = 0; r < rows; r++) {
            softmax_row(s, scores + r * T, i + r, tf32);
        }
        if (p->data) {
            wrote_floats(p, at, scores, rows * T);
        }
        CPU(gemm_block)(sums, D, false, NULL, scores, T, 1, values, T, rows, D, n);
        store_head(out, b, h, sums, i, rows);
    }
}

static bool forward(struct stream *stream, struct tensor *out, struct tensor *saved,
        struct tensor *scratch, const struct tensor *qkv,
        const struct attention_shape *s, struct kernel_error *err) {
    (void)err;
    int64_t H = s->heads;
    size_t room = forward_room(s);
    struct tensor p = {0};
    if (tensor_given(saved)) {
        p = kept(saved, s, qkv->type);
    }
    int threads = attention_threads(stream->threads, s, qkv->type, s->batch * H);
#pragma omp parallel for schedule(static) num_threads(threads) if (threads > 1)
    for (int64_t bh = 0; bh < s->batch * H; bh++) {
        forward_head(
                stream, out, &p, thread_room(scratch, room), qkv, s, bh / H, bh % H);
    }
    return true;
}

// One key/value head at work: its packed operands, and its gradients.
struct group {
    const struct attention_shape *s;
    const struct tensor *qkv, *dout;
    struct tensor *dqkv, p;
    bool tf32;
    int64_t b, h;
    float *values;       // columns packed, for do·vᵀ
    float *key_rows;     // rows packed, for ds·k
    float *dk, *dv, *dq; // [T, D], [T, D], [ROWS, D]
    float *q_rows, *do_rows, *do_room;
    float *p_room, *ds; // [ROWS, T]
};

// dp becomes ds = p × (dp − Σ p·dp) × scale.
static void softmax_backward(
        const struct group *g, const float *restrict p, float *restrict ds, int64_t n) {
    float mean = 0, scale = attention_scale(g->s);
#pragma omp simd reduction(+ : mean)
    for (int64_t j = 0; j < n; j++) {
        mean += p[j] * ds[j];
    }
#pragma omp simd
    for (int64_t j = 0; j < n; j++) {
        ds[j] = p[j] * (ds[j] - mean) * scale;
    }
    round_operand(ds, n, g->tf32);
}

// Queries [i, i + rows) of the head at work: dq, and what they add to dk and dv.
static void backward_rows(struct group *g, int64_t i, int64_t rows) {
    int64_t T = g->s->seq_len, D = g->s->head_dim, n = i + rows, row, column;
    struct gemm_matrix q = head_rows(g->qkv, g->b, g->h, g->tf32);
    struct gemm_matrix d = head_rows(g->dout, g->b, g->h, g->tf32);
    const float *dos = CPU(gemm_rows)(g->do_room, &d, D, i, rows, &row, &column);
    const float *p = read_floats(
            g->p_room, &g->p, ((g->b * g->s->heads + g->h) * T + i) * T, rows * T);
    q.offset += i * q.row;
    d.offset += i * d.row;
    CPU(gemm_pack_all)(g->q_rows, &q, rows, D);
    CPU(gemm_pack_all)(g->do_rows, &d, rows, D);
    CPU(gemm_block)(g->ds, T, false, NULL, dos, row, 1, g->values, D, rows, n, D);
    for (int64_t r = 0; r < rows; r++) {
        softmax_backward(g, p + r * T, g->ds + r * T, n);
    }
    CPU(gemm_block)(g->dv, D, true, NULL, p, 1, T, g->do_rows, rows, n, D, rows);
    CPU(gemm_block)(g->dk, D, true, NULL, g->ds, 1, T, g->q_rows, rows, n, D, rows);
    CPU(gemm_block)(g->dq, D, false, NULL, g->ds, T, 1, g->key_rows, T, rows, D, n);
    store_head(g->dqkv, g->b, g->h, g->dq, i, rows);
}

static void backward_group(struct group *g, float *room, int64_t kv) {
    const struct attention_shape *s = g->s;
    int64_t T = s->seq_len, D = s->head_dim, share = s->heads / s->kv_heads;
    int64_t key = s->heads + kv, value = key + s->kv_heads;
    struct gemm_matrix v = head_columns(g->qkv, g->b, value, g->tf32);
    struct gemm_matrix rows = head_rows(g->qkv, g->b, key, g->tf32);
    g->dq = take(&room, (size_t)(ROWS * D));
    g->do_room = take(&room, (size_t)(ROWS * D));
    g->q_rows = take(&room, gemm_packed(ROWS, D));
    g->do_rows = take(&room, gemm_packed(ROWS, D));
    g->p_room = take(&room, (size_t)(ROWS * T));
    g->ds = take(&room, (size_t)(ROWS * T));
    g->values = take(&room, gemm_packed(D, T));
    g->key_rows = take(&room, gemm_packed(T, D));
    g->dk = take(&room, (size_t)(T * D));
    g->dv = take(&room, (size_t)(T * D));
    CPU(gemm_pack_all)(g->values, &v, D, T);
    CPU(gemm_pack_all)(g->key_rows, &rows, T, D);
    memset(g->dk, 0, (size_t)(T * D) * sizeof(float));
    memset(g->dv, 0, (size_t)(T * D) * sizeof(float));
    for (g->h = kv * share; g->h < (kv + 1) * share; g->h++) {
        for (int64_t i = 0; i < T; i += ROWS) {
            backward_rows(g, i, min_of(ROWS, T - i));
        }
    }
    store_head(g->dqkv, g->b, key, g->dk, 0, T);
    store_head(g->dqkv, g->b, value, g->dv, 0, T);
}

static bool backward(struct stream *stream, struct tensor *dqkv, struct tensor *scratch,
        const struct tensor *dout, const struct tensor *out, const struct tensor *qkv,
        const struct tensor *saved, const struct attention_shape *s,
        struct kernel_error *err) {
    (void)out;
    (void)err;
    int64_t G = s->kv_heads;
    size_t room = backward_room(s);
    int threads = attention_threads(stream->threads, s, qkv->type, s->batch * G);
#pragma omp parallel for schedule(static) num_threads(threads) if (threads > 1)
    for (int64_t bg = 0; bg < s->batch * G; bg++) {
        struct group g = {.s = s,
                .qkv = qkv,
                .dout = dout,
                .dqkv = dqkv,
                .p = kept(saved, s, qkv->type),
                .tf32 = is_tf32(stream, qkv),
                .b = bg / G};
        backward_group(&g, thread_room(scratch, room), bg % G);
    }
    return true;
}

const struct attention_kernel CPU(attention_fused) = {"fused", plan, forward, backward};

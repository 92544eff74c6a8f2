/*
 * Attention without its matrix of scores (Dao et al.): blocks of queries pass over
 * blocks of keys with a running maximum and sum; only each row's log-sum-exp is kept,
 * from which backward computes the probabilities again. A thread takes a head forward,
 * a key/value head with all its query heads backward, so that no two add to one
 * gradient.
 */
#include <math.h>

#include "kernels/cpu/attention.h"

enum { ROWS = GEMM_ROWS, KEYS = 128 };

// Floats of a thread's room, forward and backward.
static size_t forward_room(const struct attention_shape *s) {
    int64_t T = s->seq_len, D = s->head_dim;
    return padded(gemm_packed(D, T)) + padded(gemm_packed(T, D)) +
           2 * padded((size_t)(ROWS * D)) + padded(ROWS * KEYS);
}

static size_t backward_room(const struct attention_shape *s) {
    int64_t T = s->seq_len, D = s->head_dim;
    return 2 * padded(gemm_packed(D, T)) + padded(gemm_packed(T, D)) +
           2 * padded((size_t)(T * D)) + 3 * padded((size_t)(ROWS * D)) +
           2 * padded(gemm_packed(ROWS, D)) + 2 * padded(ROWS * KEYS);
}

static bool plan(const struct attention_shape *s, enum dtype type, int threads,
        struct attention_memory *out, struct kernel_error *err) {
    (void)err;
    int64_t heads = s->batch * s->heads, groups = s->batch * s->kv_heads;
    *out = (struct attention_memory){
            .saved = (size_t)(s->batch * s->heads * s->seq_len) * sizeof(float),
            .forward_scratch = rooms_bytes(threads, s, type, heads, forward_room(s)),
            .backward_scratch = rooms_bytes(threads, s, type, groups, backward_room(s)),
    };
    return true;
}

struct running {
    float highest[ROWS], sum[ROWS];
};

// One block of scores into probabilities that share the running maximum; what was
// gathered under an older maximum is scaled down.
static void online_softmax(const struct attention_shape *s, struct running *run,
        float *scores, float *gathered, int64_t i, int64_t rows, int64_t j, int64_t n) {
    float scale = attention_scale(s);
    int64_t D = s->head_dim;
    for (int64_t r = 0; r < rows; r++) {
        int64_t low, high;
        float *row = scores + r * KEYS, *sums = gathered + r * D;
        seen(s, i + r, j, n, &low, &high);
        float block = largest(row, low, high, n) * scale, old = run->highest[r];
        if (low == high || block == -INFINITY) {
            memset(row, 0, (size_t)n * sizeof(*row));
            continue;
        }
        float highest = block > old ? block : old;
        float sum = exponentials(row, low, high, n, scale, highest);
        float shrink = fast_exp(old - highest);
        run->highest[r] = highest;
        run->sum[r] = run->sum[r] * shrink + sum;
        if (shrink != 1) {
            multiply_row(sums, D, shrink);
        }
    }
}

// Queries [i, i + rows) of one head against all their keys.
static void forward_rows(const struct attention_shape *s, struct running *run,
        float *gathered, float *scores, const float *q, int64_t row, const float *keys,
        const float *values, int64_t i, int64_t rows, bool tf32) {
    int64_t T = s->seq_len, D = s->head_dim;
    for (int64_t r = 0; r < rows; r++) {
        run->highest[r] = -INFINITY;
        run->sum[r] = 0;
    }
    memset(gathered, 0, (size_t)(rows * D) * sizeof(*gathered));
    for (int64_t j = first_seen(s, i) / GEMM_COLUMNS * GEMM_COLUMNS; j < i + rows;
            j += KEYS) {
        int64_t n = min_of(KEYS, i + rows - j);
        CPU(gemm_block)
        (scores, KEYS, false, NULL, q, row, 1, keys + j * D, D, rows, n, D);
        online_softmax(s, run, scores, gathered, i, rows, j, n);
        for (int64_t r = 0; tf32 && r < rows; r++) {
            round_operand(scores + r * KEYS, n, tf32);
        }
        CPU(gemm_block)
        (gathered, D, true, NULL, scores, KEYS, 1, values + j * GEMM_COLUMNS, T, rows,
                D, n);
    }
}

static void forward_head(struct stream *stream, struct tensor *out, float *lse,
        float *room, const struct tensor *qkv, const struct attention_shape *s,
        int64_t b, int64_t h) {
    int64_t T = s->seq_len, D = s->head_dim, column;
    bool tf32 = is_tf32(stream, qkv);
    struct gemm_matrix q = head_rows(qkv, b, h, tf32);
    struct gemm_matrix k = head_columns(qkv, b, key_head(s, h), tf32);
    struct gemm_matrix v = head_rows(qkv, b, key_head(s, h) + s->kv_heads, tf32);
    float *gathered = take(&room, (size_t)(ROWS * D));
    float *converted = take(&room, (size_t)(ROWS * D));
    float *scores = take(&room, ROWS * KEYS);
    float *keys = take(&room, gemm_packed(D, T));
    float *values = take(&room, gemm_packed(T, D));
    CPU(gemm_pack_all)(keys, &k, D, T);
    CPU(gemm_pack_all)(values, &v, T, D);
    for (int64_t i = 0; i < T; i += ROWS) {
        struct running run;
        int64_t rows = min_of(ROWS, T - i), stride;
        const float *a = CPU(gemm_rows)(converted, &q, D, i, rows, &stride, &column);
        forward_rows(s, &run, gathered, scores, a, stride, keys, values, i, rows, tf32);
        for (int64_t r = 0; r < rows; r++) {
            multiply_row(gathered + r * D, D, 1 / run.sum[r]);
            if (lse) {
                lse[i + r] = run.highest[r] + logf(run.sum[r]);
            }
        }
        store_head(out, b, h, gathered, i, rows);
    }
}

static bool forward(struct stream *stream, struct tensor *out, struct tensor *saved,
        struct tensor *scratch, const struct tensor *qkv,
        const struct attention_shape *s, struct kernel_error *err) {
    (void)err;
    int64_t H = s->heads;
    float *lse = tensor_given(saved) ? saved->data : NULL;
    size_t room = forward_room(s);
    int threads = attention_threads(stream->threads, s, qkv->type, s->batch * H);
#pragma omp parallel for schedule(static) num_threads(threads) if (threads > 1)
    for (int64_t bh = 0; bh < s->batch * H; bh++) {
        float *mine = thread_room(scratch, room);
        forward_head(stream, out, lse ? lse + bh * s->seq_len : NULL, mine, qkv, s,
                bh / H, bh % H);
    }
    return true;
}

// One key/value head at work: its packed keys and values, and its gradients.
struct group {
    const struct attention_shape *s;
    const struct tensor *qkv, *dout, *out;
    struct tensor *dqkv;
    const float *lse; // [T] of the query head at work
    bool tf32;
    int64_t b, h;
    float *keys, *values; // columns packed, for q·kᵀ and do·vᵀ
    float *key_rows;      // rows packed, for ds·k
    float *dk, *dv, *dq;  // [T, D], [T, D], [ROWS, D]
    float *q_rows, *do_rows;
    float *q_room, *do_room;
    float *p, *ds; // [ROWS, KEYS]
};

// p from scores, and ds from dp, for a block of keys.
static void softmax_backward(const struct group *g, const float *delta, int64_t i,
        int64_t rows, int64_t j, int64_t n) {
    float scale = attention_scale(g->s);
    for (int64_t r = 0; r < rows; r++) {
        int64_t low, high;
        float *p = g->p + r * KEYS, *ds = g->ds + r * KEYS, mean = delta[r];
        seen(g->s, i + r, j, n, &low, &high);
        exponentials(p, low, high, n, scale, g->lse[i + r]);
        // Unseen, p is 0 and so is ds.
#pragma omp simd
        for (int64_t x = 0; x < n; x++) {
            ds[x] = p[x] * (ds[x] - mean) * scale;
        }
        round_operand(p, n, g->tf32);
        round_operand(ds, n, g->tf32);
    }
}

static void row_deltas(const struct group *g, float *delta, int64_t i, int64_t rows) {
    int64_t H = g->s->heads, D = g->s->head_dim;
    for (int64_t r = 0; r < rows; r++) {
        int64_t at = ((g->b * g->s->seq_len + i + r) * H + g->h) * D;
        float left[128] ALIGNED, right[128] ALIGNED, sum = 0;
        const float *o = read_floats(left, g->out, at, D);
        const float *d = read_floats(right, g->dout, at, D);
#pragma omp simd reduction(+ : sum)
        for (int64_t x = 0; x < D; x++) {
            sum += o[x] * d[x];
        }
        delta[r] = sum;
    }
}

// Queries [i, i + rows) of the head at work: dq, and what they add to dk and dv.
static void backward_rows(struct group *g, int64_t i, int64_t rows) {
    int64_t T = g->s->seq_len, D = g->s->head_dim, q_row, do_row, column;
    struct gemm_matrix q = head_rows(g->qkv, g->b, g->h, g->tf32);
    struct gemm_matrix d = head_rows(g->dout, g->b, g->h, g->tf32);
    const float *qs = CPU(gemm_rows)(g->q_room, &q, D, i, rows, &q_row, &column);
    const float *dos = CPU(gemm_rows)(g->do_room, &d, D, i, rows, &do_row, &column);
    float delta[ROWS];
    row_deltas(g, delta, i, rows);
    q.offset += i * q.row;
    d.offset += i * d.row;
    CPU(gemm_pack_all)(g->q_rows, &q, rows, D);
    CPU(gemm_pack_all)(g->do_rows, &d, rows, D);
    memset(g->dq, 0, (size_t)(rows * D) * sizeof(*g->dq));
    for (int64_t j = first_seen(g->s, i) / GEMM_COLUMNS * GEMM_COLUMNS; j < i + rows;
            j += KEYS) {
        int64_t n = min_of(KEYS, i + rows - j);
        CPU(gemm_block)
        (g->p, KEYS, false, NULL, qs, q_row, 1, g->keys + j * D, D, rows, n, D);
        CPU(gemm_block)
        (g->ds, KEYS, false, NULL, dos, do_row, 1, g->values + j * D, D, rows, n, D);
        softmax_backward(g, delta, i, rows, j, n);
        CPU(gemm_block)
        (g->dv + j * D, D, true, NULL, g->p, 1, KEYS, g->do_rows, rows, n, D, rows);
        CPU(gemm_block)
        (g->dk + j * D, D, true, NULL, g->ds, 1, KEYS, g->q_rows, rows, n, D, rows);
        CPU(gemm_block)
        (g->dq, D, true, NULL, g->ds, KEYS, 1, g->key_rows + j * GEMM_COLUMNS, T, rows,
                D, n);
    }
    store_head(g->dqkv, g->b, g->h, g->dq, i, rows);
}

static void backward_group(struct group *g, const float *lse, float *room, int64_t kv) {
    const struct attention_shape *s = g->s;
    int64_t T = s->seq_len, D = s->head_dim, share = s->heads / s->kv_heads;
    int64_t key = s->heads + kv, value = key + s->kv_heads;
    struct gemm_matrix k = head_columns(g->qkv, g->b, key, g->tf32);
    struct gemm_matrix v = head_columns(g->qkv, g->b, value, g->tf32);
    struct gemm_matrix rows = head_rows(g->qkv, g->b, key, g->tf32);
    g->dq = take(&room, (size_t)(ROWS * D));
    g->q_room = take(&room, (size_t)(ROWS * D));
    g->do_room = take(&room, (size_t)(ROWS * D));
    g->q_rows = take(&room, gemm_packed(ROWS, D));
    g->do_rows = take(&room, gemm_packed(ROWS, D));
    g->p = take(&room, ROWS * KEYS);
    g->ds = take(&room, ROWS * KEYS);
    g->keys = take(&room, gemm_packed(D, T));
    g->values = take(&room, gemm_packed(D, T));
    g->key_rows = take(&room, gemm_packed(T, D));
    g->dk = take(&room, (size_t)(T * D));
    g->dv = take(&room, (size_t)(T * D));
    CPU(gemm_pack_all)(g->keys, &k, D, T);
    CPU(gemm_pack_all)(g->values, &v, D, T);
    CPU(gemm_pack_all)(g->key_rows, &rows, T, D);
    memset(g->dk, 0, (size_t)(T * D) * sizeof(float));
    memset(g->dv, 0, (size_t)(T * D) * sizeof(float));
    for (g->h = kv * share; g->h < (kv + 1) * share; g->h++) {
        g->lse = lse + (g->b * s->heads + g->h) * T;
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
    (void)err;
    int64_t G = s->kv_heads;
    size_t room = backward_room(s);
    int threads = attention_threads(stream->threads, s, qkv->type, s->batch * G);
#pragma omp parallel for schedule(static) num_threads(threads) if (threads > 1)
    for (int64_t bg = 0; bg < s->batch * G; bg++) {
        float *mine = thread_room(scratch, room);
        struct group g = {.s = s,
                .qkv = qkv,
                .dout = dout,
                .out = out,
                .dqkv = dqkv,
                .tf32 = is_tf32(stream, qkv),
                .b = bg / G};
        backward_group(&g, saved->data, mine, bg % G);
    }
    return true;
}

const struct attention_kernel CPU(attention_flash) = {"flash", plan, forward, backward};

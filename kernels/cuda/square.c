#include "kernels/cuda/square.h"

#include <assert.h>
#include <math.h>

#include "kernels/cuda/gemm.h"
#include "kernels/cuda/heads.h"

/* One call at work. */
struct square {
    struct stream *stream;
    const struct attention_shape *s;
    const struct square_steps *steps;
    struct kernel_error *err;
    enum dtype type;
    size_t element;
    int64_t pairs, part;    // key/value heads of the batch, and those of one part
    int64_t stacked, pitch; // rows of scores to a pair; elements to a row
    char *workspace, *q, *k, *v, *dout, *scores;
};

static size_t whole(int64_t elements, size_t element) {
    return ((size_t)elements * element + 63) / 64 * 64;
}

static int64_t pair_scores(const struct square *w) {
    return w->stacked * w->pitch;
}

static struct square open_square(const struct square_steps *steps,
        const struct attention_shape *s, enum dtype type) {
    struct square w = {.s = s, .steps = steps, .type = type};
    assert(s->heads % s->kv_heads == 0);
    w.element = dtype_size(type);
    w.pairs = s->batch * s->kv_heads;
    w.stacked = s->heads / s->kv_heads * s->seq_len;
    w.pitch = (s->seq_len + 7) / 8 * 8;
    w.part = w.pairs;
    if (steps->part_bytes > 0) {
        int64_t fit = (int64_t)(steps->part_bytes / w.element) / pair_scores(&w);
        w.part = fit < 1 ? 1 : fit < w.pairs ? fit : w.pairs;
    }
    return w;
}

// Bytes of a block [B, heads, T, D].
static size_t block_bytes(const struct square *w, int64_t heads) {
    const struct attention_shape *s = w->s;
    return whole(s->batch * heads * s->seq_len * s->head_dim, w->element);
}

static size_t score_bytes(const struct square *w, int64_t pairs) {
    return whole(pairs * pair_scores(w), w->element);
}

bool square_plan(const struct square_steps *steps, const struct attention_shape *s,
        enum dtype type, struct attention_memory *out, struct kernel_error *err) {
    if (type != DTYPE_F32 && type != DTYPE_BF16 && type != DTYPE_F16) {
        return kernel_fail(err, KERNEL_UNSUPPORTED,
                "CUDA attention takes f32, bf16 and f16, not %s", dtype_name(type));
    }
    assert(s->head_dim % 8 == 0 && s->head_dim <= 128);
    struct square w = open_square(steps, s, type);
    size_t queries = block_bytes(&w, s->heads), keys = block_bytes(&w, s->kv_heads);
    size_t forward = CUDA_WORKSPACE + queries + 2 * keys + score_bytes(&w, w.part);
    *out = (struct attention_memory){
            .saved = score_bytes(&w, w.pairs),
            .forward_scratch = forward, // the scores go there where none are saved
            .backward_scratch = forward + queries,
    };
    return true;
}

// Takes the scratch apart, scores last.
static void place(struct square *w, struct tensor *scratch, bool backward) {
    const struct attention_shape *s = w->s;
    size_t queries = block_bytes(w, s->heads), keys = block_bytes(w, s->kv_heads);
    w->workspace = scratch->data;
    w->q = w->workspace + CUDA_WORKSPACE;
    w->k = w->q + queries;
    w->v = w->k + keys;
    w->dout = w->v + keys;
    w->scores = w->dout + (backward ? queries : 0);
    assert(w->scores + score_bytes(w, w->part) <=
            (char *)scratch->data + tensor_bytes(scratch));
}

static struct heads packed_heads(const struct square *w, char *q, char *k, char *v) {
    const struct attention_shape *s = w->s;
    return (struct heads){.batch = s->batch,
            .seq_len = s->seq_len,
            .row_bytes = s->head_dim * (int64_t)w->element,
            .count = 3,
            .heads = {s->heads, s->kv_heads, s->kv_heads},
            .blocks = {q, k, v}};
}

static struct heads query_heads(const struct square *w, char *block) {
    struct heads h = packed_heads(w, block, NULL, NULL);
    h.count = 1;
    return h;
}

static struct square_rows rows_of(const struct square *w, int64_t pairs) {
    return (struct square_rows){.rows = pairs * w->stacked,
            .seq_len = w->s->seq_len,
            .pitch = w->pitch,
            .window = w->s->window,
            .scale = 1 / sqrtf((float)w->s->head_dim),
            .type = w->type};
}

/* -- the three kinds of product ------------------------------------------------------
 * Scores are [R, T] in rows of `pitch`; stacked rows (q, out, their gradients) [R, D];
 * keys and values [T, D]. Each for `pairs` pairs.
 */

static bool run(const struct square *w, struct gemm_call *c) {
    c->type = c->out_type = w->type;
    c->alpha = 1;
    return gemm_run(w->stream, c, w->workspace, w->err);
}

// scores = rows · keysᵀ
static bool scores_from(const struct square *w, void *scores, const void *rows,
        const void *keys, int64_t pairs) {
    int64_t R = w->stacked, T = w->s->seq_len, D = w->s->head_dim;
    struct gemm_call c = {.m = R,
            .n = T,
            .k = D,
            .transpose_b = true,
            .lda = D,
            .ldb = D,
            .ldout = w->pitch,
            .batch = pairs,
            .stride_a = R * D,
            .stride_b = T * D,
            .stride_out = R * w->pitch,
            .a = rows,
            .b = keys,
            .out = scores};
    return run(w, &c);
}

// rows = scores · keys
static bool rows_from(const struct square *w, void *rows, const void *scores,
        const void *keys, int64_t pairs) {
    int64_t R = w->stacked, T = w->s->seq_len, D = w->s->head_dim;
    struct gemm_call c = {.m = R,
            .n = D,
            .k = T,
            .lda = w->pitch,
            .ldb = D,
            .ldout = D,
            .batch = pairs,
            .stride_a = R * w->pitch,
            .stride_b = T * D,
            .stride_out = R * D,
            .a = scores,
            .b = keys,
            .out = rows};
    return run(w, &c);
}

// keys = scoresᵀ · rows
static bool keys_from(const struct square *w, void *keys, const void *scores,
        const void *rows, int64_t pairs) {
    int64_t R = w->stacked, T = w->s->seq_len, D = w->s->head_dim;
    struct gemm_call c = {.m = T,
            .n = D,
            .k = R,
            .transpose_a = true,
            .lda = w->pitch,
            .ldb = D,
            .ldout = D,
            .batch = pairs,
            .stride_a = R * w->pitch,
            .stride_b = R * D,
            .stride_out = T * D,
            .a = scores,
            .b = rows,
            .out = keys};
    return run(w, &c);
}

/* -- forward and backward ------------------------------------------------------------
 */

// Where the stacked rows, the keys and the probabilities of pair `first` begin.
static size_t rows_at(const struct square *w, int64_t first) {
    return (size_t)(first * w->stacked * w->s->head_dim) * w->element;
}

static size_t keys_at(const struct square *w, int64_t first) {
    return (size_t)(first * w->s->seq_len * w->s->head_dim) * w->element;
}

static size_t scores_at(const struct square *w, int64_t first) {
    return (size_t)(first * pair_scores(w)) * w->element;
}

bool square_forward(const struct square_steps *steps, struct stream *stream,
        struct tensor *out, struct tensor *saved, struct tensor *scratch,
        const struct tensor *qkv, const struct attention_shape *s,
        struct kernel_error *err) {
    struct square w = open_square(steps, s, qkv->type);
    w.stream = stream;
    w.err = err;
    place(&w, scratch, false);
    struct heads all = packed_heads(&w, w.q, w.k, w.v), results = query_heads(&w, w.q);
    if (!heads_split(stream, &all, qkv->data, err)) {
        return false;
    }
    for (int64_t first = 0; first < w.pairs; first += w.part) {
        int64_t left = w.pairs - first, pairs = left < w.part ? left : w.part;
        struct square_rows rows = rows_of(&w, pairs);
        char *q = w.q + rows_at(&w, first), *p = w.scores;
        if (tensor_given(saved)) {
            p = (char *)saved->data + scores_at(&w, first);
        }
        // The result takes the place of the queries.
        if (!scores_from(&w, p, q, w.k + keys_at(&w, first), pairs) ||
                !steps->softmax(stream, p, &rows, err) ||
                !rows_from(&w, q, p, w.v + keys_at(&w, first), pairs)) {
            return false;
        }
    }
    return heads_join(stream, &results, out->data, err);
}

// Pairs from `first` on: dQ takes the place of dout, dK that of K, dV that of V.
static bool backward_part(const struct square *w, const struct tensor *saved,
        int64_t first, int64_t pairs) {
    struct square_rows rows = rows_of(w, pairs);
    const char *p = (const char *)saved->data + scores_at(w, first);
    char *q = w->q + rows_at(w, first), *dout = w->dout + rows_at(w, first);
    char *k = w->k + keys_at(w, first), *v = w->v + keys_at(w, first);
    return scores_from(w, w->scores, dout, v, pairs) &&
           keys_from(w, v, p, dout, pairs) &&
           w->steps->gradient(w->stream, w->scores, p, &rows, w->err) &&
           rows_from(w, dout, w->scores, k, pairs) &&
           keys_from(w, k, w->scores, q, pairs);
}

bool square_backward(const struct square_steps *steps, struct stream *stream,
        struct tensor *dqkv, struct tensor *scratch, const struct tensor *dout,
        const struct tensor *qkv, const struct tensor *saved,
        const struct attention_shape *s, struct kernel_error *err) {
    struct square w = open_square(steps, s, qkv->type);
    w.stream = stream;
    w.err = err;
    place(&w, scratch, true);
    struct heads all = packed_heads(&w, w.q, w.k, w.v), given = query_heads(&w, w.dout);
    struct heads gradients = packed_heads(&w, w.dout, w.k, w.v);
    if (!heads_split(stream, &all, qkv->data, err) ||
            !heads_split(stream, &given, dout->data, err)) {
        return false;
    }
    for (int64_t first = 0; first < w.pairs; first += w.part) {
        int64_t left = w.pairs - first;
        if (!backward_part(&w, saved, first, left < w.part ? left : w.part)) {
            return false;
        }
    }
    return heads_join(stream, &gradients, dqkv->data, err);
}

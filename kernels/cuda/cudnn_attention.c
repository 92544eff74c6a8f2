#include "kernels/cuda/cudnn_attention.h"

#include <stddef.h>

struct writer {
    struct cudnn_graph *g;
    const struct attention_shape *s;
    int64_t row_heads, row_kv_heads;
    cudnnDataType_t type;
    cudnn_descriptor queries, keys; /* lengths; NULL where the graph is not padded */
};

bool cudnn_attention_is_padded(const struct cudnn_problem *problem, size_t version) {
    // Up to 9.15 backward reads past a last block of keys that is not whole.
    return problem->pass == CUDNN_PASS_BACKWARD && version <= 91500 &&
           problem->shape.seq_len % 128 != 0;
}

/* -- tensors -------------------------------------------------------------------------
 */

// `heads` of the `all` that lie side by side in a token's row.
static struct cudnn_layout in_rows(
        const struct attention_shape *s, int64_t heads, int64_t all) {
    int64_t T = s->seq_len, D = s->head_dim;
    return (struct cudnn_layout){{s->batch, heads, T, D}, {T * all * D, D, all * D, 1}};
}

static struct cudnn_layout transposed(struct cudnn_layout l) {
    return (struct cudnn_layout){{l.size[0], l.size[1], l.size[3], l.size[2]},
            {l.stride[0], l.stride[1], l.stride[3], l.stride[2]}};
}

// [B, H, T, columns], H being heads that stand side by side among all of them.
static struct cudnn_layout by_head(const struct writer *w, int64_t columns) {
    const struct attention_shape *s = w->s;
    int64_t T = s->seq_len;
    return (struct cudnn_layout){{s->batch, s->heads, T, columns},
            {w->row_heads * T * columns, T * columns, columns, 1}};
}

static int64_t row_width(const struct writer *w) {
    return w->row_heads + 2 * w->row_kv_heads;
}

static cudnn_descriptor packed(struct writer *w, enum cudnn_operand operand) {
    const struct attention_shape *s = w->s;
    bool query = operand == OPERAND_Q || operand == OPERAND_DQ;
    struct cudnn_layout l = in_rows(s, query ? s->heads : s->kv_heads, row_width(w));
    return cudnn_graph_tensor(w->g, operand, w->type, &l);
}

static cudnn_descriptor packed_transposed(
        struct writer *w, enum cudnn_operand operand) {
    const struct attention_shape *s = w->s;
    struct cudnn_layout l = transposed(in_rows(s, s->kv_heads, row_width(w)));
    return cudnn_graph_tensor(w->g, operand, w->type, &l);
}

static cudnn_descriptor mixed(struct writer *w, enum cudnn_operand operand) {
    struct cudnn_layout l = in_rows(w->s, w->s->heads, w->row_heads);
    return cudnn_graph_tensor(w->g, operand, w->type, &l);
}

static cudnn_descriptor rows(struct writer *w, enum cudnn_operand operand) {
    struct cudnn_layout l = by_head(w, 1);
    return cudnn_graph_tensor(w->g, operand, CUDNN_DATA_FLOAT, &l);
}

static cudnn_descriptor virtual_rows(struct writer *w) {
    struct cudnn_layout l = by_head(w, 1);
    return cudnn_graph_virtual(w->g, CUDNN_DATA_FLOAT, &l);
}

// One value per pair of a query and a key.
static cudnn_descriptor pairs(struct writer *w, cudnnDataType_t type) {
    struct cudnn_layout l = by_head(w, w->s->seq_len);
    return cudnn_graph_virtual(w->g, type, &l);
}

// y = mode(x, b) on pairs, in fp32.
static cudnn_descriptor step(struct writer *w, cudnnPointwiseMode_t mode,
        cudnn_descriptor x, cudnn_descriptor b, cudnnDataType_t type) {
    cudnn_descriptor y = pairs(w, type);
    cudnn_graph_pointwise(w->g, mode, CUDNN_DATA_FLOAT, x, b, NULL, y, -1);
    return y;
}

/* -- masks ---------------------------------------------------------------------------
 */

static cudnn_descriptor index_of(
        struct writer *w, cudnn_descriptor x, int64_t axis, cudnnDataType_t math) {
    cudnn_descriptor y = pairs(w, CUDNN_DATA_INT32);
    cudnn_graph_pointwise(
            w->g, CUDNN_POINTWISE_GEN_INDEX, math, x, NULL, NULL, y, axis);
    return y;
}

static cudnn_descriptor compare(struct writer *w, cudnnPointwiseMode_t mode,
        cudnn_descriptor x, cudnn_descriptor b) {
    cudnn_descriptor y = pairs(w, CUDNN_DATA_BOOLEAN);
    cudnn_graph_pointwise(w->g, mode, CUDNN_DATA_BOOLEAN, x, b, NULL, y, -1);
    return y;
}

// x where `kept`, else −∞.
static cudnn_descriptor keep(struct writer *w, cudnn_descriptor x,
        cudnn_descriptor kept, enum cudnn_operand outside) {
    cudnn_descriptor infinity = cudnn_graph_scalar(w->g, outside);
    cudnn_descriptor y = pairs(w, CUDNN_DATA_FLOAT);
    cudnn_graph_pointwise(w->g, CUDNN_POINTWISE_BINARY_SELECT, CUDNN_DATA_FLOAT, x,
            infinity, kept, y, -1);
    return y;
}

// Key ≤ query, and with a window query < key + w.
static cudnn_descriptor mask_order(struct writer *w, cudnn_descriptor x) {
    cudnn_descriptor query = index_of(w, x, 2, CUDNN_DATA_FLOAT);
    cudnn_descriptor key = index_of(w, x, 3, CUDNN_DATA_FLOAT);
    x = keep(w, x, compare(w, CUDNN_POINTWISE_CMP_GE, query, key),
            OPERAND_OUTSIDE_CAUSE);
    if (!w->s->window) {
        return x;
    }
    query = index_of(w, x, 2, CUDNN_DATA_FLOAT);
    key = index_of(w, x, 3, CUDNN_DATA_FLOAT);
    cudnn_descriptor window = cudnn_graph_scalar(w->g, OPERAND_WINDOW);
    cudnn_descriptor end = pairs(w, CUDNN_DATA_FLOAT);
    cudnn_graph_pointwise(
            w->g, CUDNN_POINTWISE_ADD, CUDNN_DATA_FLOAT, key, window, NULL, end, 3);
    return keep(w, x, compare(w, CUDNN_POINTWISE_CMP_GT, end, query),
            OPERAND_OUTSIDE_WINDOW);
}

static cudnn_descriptor mask_lengths(struct writer *w, cudnn_descriptor x) {
    cudnn_descriptor query = index_of(w, x, 2, CUDNN_DATA_INT32);
    cudnn_descriptor key = index_of(w, x, 3, CUDNN_DATA_INT32);
    cudnn_descriptor a = compare(w, CUDNN_POINTWISE_CMP_LT, query, w->queries);
    cudnn_descriptor b = compare(w, CUDNN_POINTWISE_CMP_LT, key, w->keys);
    return keep(w, x, compare(w, CUDNN_POINTWISE_LOGICAL_AND, a, b),
            OPERAND_OUTSIDE_LENGTH);
}

/* -- passes --------------------------------------------------------------------------
 */

// scores = mask(q · kᵀ × scale); out = softmax(scores) · v.
static void describe_forward(struct writer *w) {
    struct cudnn_bounds none = {0};
    cudnn_descriptor q = packed(w, OPERAND_Q);
    cudnn_descriptor k = packed_transposed(w, OPERAND_K);
    cudnn_descriptor v = packed(w, OPERAND_V);
    cudnn_descriptor out = mixed(w, OPERAND_OUT);
    cudnn_descriptor stats = rows(w, OPERAND_STATS);
    cudnn_descriptor scale = cudnn_graph_scalar(w->g, OPERAND_SCALE);

    cudnn_descriptor x = pairs(w, CUDNN_DATA_FLOAT);
    cudnn_graph_matmul(w->g, q, k, x, none);
    x = mask_order(w, step(w, CUDNN_POINTWISE_MUL, x, scale, CUDNN_DATA_FLOAT));

    cudnn_descriptor highest = virtual_rows(w), sum = virtual_rows(w);
    cudnn_descriptor logarithm = virtual_rows(w);
    cudnn_graph_reduce(w->g, CUDNN_REDUCE_TENSOR_MAX, x, highest);
    x = step(w, CUDNN_POINTWISE_SUB, x, highest, CUDNN_DATA_FLOAT);
    x = step(w, CUDNN_POINTWISE_EXP, x, NULL, CUDNN_DATA_FLOAT);
    cudnn_graph_reduce(w->g, CUDNN_REDUCE_TENSOR_ADD, x, sum);
    cudnn_graph_pointwise(w->g, CUDNN_POINTWISE_LOG, CUDNN_DATA_FLOAT, sum, NULL, NULL,
            logarithm, -1);
    cudnn_graph_pointwise(w->g, CUDNN_POINTWISE_ADD, CUDNN_DATA_FLOAT, highest,
            logarithm, NULL, stats, -1);
    x = step(w, CUDNN_POINTWISE_DIV, x, sum, w->type);
    cudnn_graph_matmul(w->g, x, v, out, none);
}

// d = xᵀ · y for keys or values, summed over the query heads that share one.
static void describe_key_gradient(struct writer *w, cudnn_descriptor x,
        cudnn_descriptor y, enum cudnn_operand operand) {
    struct cudnn_bounds bounds = {.m = w->keys, .k = w->queries};
    struct cudnn_layout turned = transposed(by_head(w, w->s->seq_len));
    struct cudnn_layout all = by_head(w, w->s->head_dim);
    cudnn_descriptor xt = cudnn_graph_virtual(w->g, w->type, &turned);
    cudnn_graph_reshape(w->g, x, xt);
    cudnn_descriptor d = packed(w, operand);
    if (w->s->heads == w->s->kv_heads) {
        cudnn_graph_matmul(w->g, xt, y, d, bounds);
        return;
    }
    cudnn_descriptor full = cudnn_graph_virtual(w->g, w->type, &all);
    cudnn_graph_matmul(w->g, xt, y, full, bounds);
    cudnn_graph_reduce(w->g, CUDNN_REDUCE_TENSOR_ADD, full, d);
}

// dq = dscores · k. Blocks of keys add to it: in fp32, in whatever order they come; or,
// deterministic, once all of dscores lies in the workspace.
static void describe_query_gradient(
        struct writer *w, cudnn_descriptor dscores, cudnn_descriptor kt) {
    struct cudnn_bounds bounds = {.m = w->queries, .k = w->keys};
    const struct attention_shape *s = w->s;
    struct cudnn_layout l = in_rows(s, s->kv_heads, row_width(w));
    struct cudnn_layout sums = by_head(w, s->head_dim);
    cudnn_descriptor k = cudnn_graph_virtual(w->g, w->type, &l);
    cudnn_graph_reshape(w->g, kt, k);
    cudnn_descriptor dq = packed(w, OPERAND_DQ);
    if (s->deterministic) {
        cudnn_graph_matmul(w->g, dscores, k, dq, bounds);
        return;
    }
    cudnn_descriptor sum =
            cudnn_graph_tensor(w->g, OPERAND_DQ_SUMS, CUDNN_DATA_FLOAT, &sums);
    cudnn_graph_matmul(w->g, dscores, k, sum, bounds);
    cudnn_graph_pointwise(
            w->g, CUDNN_POINTWISE_IDENTITY, CUDNN_DATA_FLOAT, sum, NULL, NULL, dq, -1);
}

// Σ over D of dout × out: what each row of dscores is measured from.
static cudnn_descriptor describe_row_sums(struct writer *w, cudnn_descriptor dout) {
    const struct attention_shape *s = w->s;
    struct cudnn_layout l = by_head(w, s->head_dim);
    cudnn_descriptor out = mixed(w, OPERAND_OUT);
    cudnn_descriptor product = cudnn_graph_virtual(w->g, CUDNN_DATA_FLOAT, &l);
    cudnn_descriptor sum = virtual_rows(w), sums = rows(w, OPERAND_ROW_SUMS);
    cudnn_descriptor one = cudnn_graph_scalar(w->g, OPERAND_ONE);
    cudnn_graph_pointwise(
            w->g, CUDNN_POINTWISE_MUL, CUDNN_DATA_FLOAT, dout, out, NULL, product, -1);
    cudnn_graph_reduce(w->g, CUDNN_REDUCE_TENSOR_ADD, product, sum);
    // The step a dropout would scale by; cuDNN looks for it.
    cudnn_graph_pointwise(
            w->g, CUDNN_POINTWISE_MUL, CUDNN_DATA_FLOAT, sum, one, NULL, sums, -1);
    return sums;
}

static void describe_backward(struct writer *w) {
    struct cudnn_bounds bounds = {.m = w->queries, .n = w->keys};
    cudnn_descriptor q = packed(w, OPERAND_Q);
    cudnn_descriptor kt = packed_transposed(w, OPERAND_K);
    cudnn_descriptor vt = packed_transposed(w, OPERAND_V);
    cudnn_descriptor dout = mixed(w, OPERAND_DOUT);
    cudnn_descriptor stats = rows(w, OPERAND_STATS);
    cudnn_descriptor scale = cudnn_graph_scalar(w->g, OPERAND_SCALE);
    cudnn_descriptor sums = describe_row_sums(w, dout);

    cudnn_descriptor x = pairs(w, CUDNN_DATA_FLOAT);
    cudnn_graph_matmul(w->g, q, kt, x, bounds);
    x = step(w, CUDNN_POINTWISE_MUL, x, scale, CUDNN_DATA_FLOAT);
    if (w->keys) {
        x = mask_lengths(w, x);
    }
    x = mask_order(w, step(w, CUDNN_POINTWISE_SUB, x, stats, CUDNN_DATA_FLOAT));
    cudnn_descriptor p = step(w, CUDNN_POINTWISE_EXP, x, NULL, CUDNN_DATA_FLOAT);
    describe_key_gradient(w, p, dout, OPERAND_DV);

    x = pairs(w, CUDNN_DATA_FLOAT);
    cudnn_graph_matmul(w->g, dout, vt, x, bounds);
    x = step(w, CUDNN_POINTWISE_SUB, x, sums, CUDNN_DATA_FLOAT);
    x = step(w, CUDNN_POINTWISE_MUL, x, p, CUDNN_DATA_FLOAT);
    x = step(w, CUDNN_POINTWISE_MUL, x, scale, w->type);
    describe_key_gradient(w, x, q, OPERAND_DK);
    describe_query_gradient(w, x, kt);
}

void cudnn_attention_describe(
        struct cudnn_graph *g, const struct cudnn_problem *problem) {
    struct writer w = {.g = g,
            .s = &problem->shape,
            .row_heads = problem->row_heads,
            .row_kv_heads = problem->row_kv_heads,
            .type = problem->type == DTYPE_BF16 ? CUDNN_DATA_BFLOAT16
                                                : CUDNN_DATA_HALF};
    if (cudnn_attention_is_padded(problem, g->lib->version)) {
        struct cudnn_layout lengths = {{w.s->batch, 1, 1, 1}, {1, 1, 1, 1}};
        w.queries = cudnn_graph_tensor(g, OPERAND_QUERIES, CUDNN_DATA_INT32, &lengths);
        w.keys = cudnn_graph_tensor(g, OPERAND_KEYS, CUDNN_DATA_INT32, &lengths);
    }
    if (problem->pass == CUDNN_PASS_FORWARD) {
        describe_forward(&w);
    } else {
        describe_backward(&w);
    }
}

#include "kernels/reference.h"

bool REF(embedding_forward)(struct stream *stream, struct tensor *out,
        const struct tensor *tokens, const struct tensor *token_table,
        const struct tensor *position_table, struct kernel_error *err) {
    (void)stream;
    (void)err;
    int64_t N = tensor_count(tokens), T = tokens->size[tokens->rank - 1];
    int64_t C = token_table->size[1];
    assert(tensor_count(out) == N * C);
    for (int64_t n = 0; n < N; n++) {
        int64_t token = load_index(tokens, n);
        assert(token >= 0 && token < token_table->size[0]);
        for (int64_t c = 0; c < C; c++) {
            real value = load(token_table, token * C + c);
            if (tensor_given(position_table)) {
                value += load(position_table, n % T * C + c);
            }
            store(out, n * C + c, value);
        }
    }
    return true;
}

// Positions of each token, in order: `list` from first[v] to first[v + 1].
static void group_by_token(
        const struct tensor *tokens, int64_t V, int32_t *first, int32_t *list) {
    int64_t N = tensor_count(tokens);
    for (int64_t v = 0; v <= V; v++) {
        first[v] = 0;
    }
    for (int64_t n = 0; n < N; n++) {
        assert(load_index(tokens, n) >= 0 && load_index(tokens, n) < V);
        first[load_index(tokens, n)]++;
    }
    for (int64_t v = 1; v <= V; v++) {
        first[v] += first[v - 1];
    }
    for (int64_t n = N - 1; n >= 0; n--) {
        list[--first[load_index(tokens, n)]] = (int32_t)n;
    }
}

bool REF(embedding_backward)(struct stream *stream, struct tensor *dtoken_table,
        struct tensor *dposition_table, struct tensor *scratch,
        const struct tensor *dout, const struct tensor *tokens, bool accumulate,
        struct kernel_error *err) {
    (void)stream;
    (void)err;
    int64_t N = tensor_count(tokens), T = tokens->size[tokens->rank - 1];
    int64_t V = dtoken_table->size[0], C = dtoken_table->size[1];
    int32_t *first = scratch->data, *list = first + V + 1;
    assert(tensor_count(dout) == N * C);
    group_by_token(tokens, V, first, list);
    for (int64_t v = 0; v < V; v++) {
        for (int64_t c = 0; c < C; c++) {
            double sum = 0;
            for (int64_t i = first[v]; i < first[v + 1]; i++) {
                sum += load(dout, list[i] * C + c);
            }
            store_sum(dtoken_table, v * C + c, sum, accumulate);
        }
    }
    if (!tensor_given(dposition_table)) {
        return true;
    }
    for (int64_t t = 0; t < dposition_table->size[0]; t++) {
        for (int64_t c = 0; c < C; c++) {
            double sum = 0;
            for (int64_t n = t; t < T && n < N; n += T) {
                sum += load(dout, n * C + c);
            }
            store_sum(dposition_table, t * C + c, sum, accumulate);
        }
    }
    return true;
}

size_t REF(embedding_scratch)(int64_t tokens, int64_t vocab, int64_t channels) {
    (void)channels;
    return (size_t)(tokens + vocab + 1) * sizeof(int32_t);
}

#include "kernels/cpu/ops.h"

bool CPU(embedding_forward)(struct stream *stream, struct tensor *out,
        const struct tensor *tokens, const struct tensor *token_table,
        const struct tensor *position_table, struct kernel_error *err) {
    (void)err;
    int64_t N = tensor_count(tokens), T = tokens->size[tokens->rank - 1];
    int64_t C = token_table->size[1];
    const int32_t *token = tokens->data;
    assert(tensor_count(out) == N * C);
    int threads = threads_for(stream, 2 * tensor_bytes(out));
#pragma omp parallel for schedule(static) num_threads(threads) if (threads > 1)
    for (int64_t n = 0; n < N; n++) {
        assert(token[n] >= 0 && token[n] < token_table->size[0]);
        for (int64_t c = 0; c < C; c += CHUNK) {
            float room[3][CHUNK] ALIGNED;
            int64_t width = min_of(CHUNK, C - c);
            const float *x = read_floats(room[0], token_table, token[n] * C + c, width);
            float *to = write_floats(room[2], out, n * C + c);
            if (tensor_given(position_table)) {
                const float *y =
                        read_floats(room[1], position_table, n % T * C + c, width);
#pragma omp simd
                for (int64_t i = 0; i < width; i++) {
                    to[i] = x[i] + y[i];
                }
            } else {
                memcpy(to, x, (size_t)width * sizeof(*to));
            }
            wrote_floats(out, n * C + c, to, width);
        }
    }
    return true;
}

// Rows of each token, in order: `list` from first[v] to first[v + 1].
static void group_by_token(
        const struct tensor *tokens, int64_t V, int32_t *first, int32_t *list) {
    int64_t N = tensor_count(tokens);
    const int32_t *token = tokens->data;
    memset(first, 0, (size_t)(V + 1) * sizeof(*first));
    for (int64_t n = 0; n < N; n++) {
        assert(token[n] >= 0 && token[n] < V);
        first[token[n]]++;
    }
    for (int64_t v = 1; v <= V; v++) {
        first[v] += first[v - 1];
    }
    for (int64_t n = N - 1; n >= 0; n--) {
        list[--first[token[n]]] = (int32_t)n;
    }
}

// table[row] (+)= the sum of rows of dout: list[0 … count), or where list is absent
// start, start + step, …
static void sum_rows(const struct tensor *table, int64_t row, const struct tensor *dout,
        const int32_t *list, int64_t start, int64_t step, int64_t count,
        bool accumulate) {
    int64_t C = table->size[1];
    for (int64_t c = 0; c < C && (count || !accumulate); c += CHUNK) {
        float sum[CHUNK] ALIGNED, room[CHUNK] ALIGNED;
        int64_t width = min_of(CHUNK, C - c);
        memset(sum, 0, sizeof(sum));
        if (accumulate) {
            load_floats(sum, table, row * C + c, width);
        }
        for (int64_t i = 0; i < count; i++) {
            int64_t n = list ? list[i] : start + i * step;
            const float *d = read_floats(room, dout, n * C + c, width);
#pragma omp simd
            for (int64_t j = 0; j < width; j++) {
                sum[j] += d[j];
            }
        }
        store_floats(table, row * C + c, sum, width);
    }
}

bool CPU(embedding_backward)(struct stream *stream, struct tensor *dtoken_table,
        struct tensor *dposition_table, struct tensor *scratch,
        const struct tensor *dout, const struct tensor *tokens, bool accumulate,
        struct kernel_error *err) {
    (void)err;
    int64_t N = tensor_count(tokens), T = tokens->size[tokens->rank - 1];
    int64_t V = dtoken_table->size[0];
    int32_t *first = scratch->data, *list = first + V + 1;
    assert(tensor_count(dout) == N * dtoken_table->size[1]);
    group_by_token(tokens, V, first, list);
    int threads = threads_for(stream, tensor_bytes(dout));
#pragma omp parallel for schedule(static, 64) num_threads(threads) if (threads > 1)
    for (int64_t v = 0; v < V; v++) {
        sum_rows(dtoken_table, v, dout, list + first[v], 0, 0, first[v + 1] - first[v],
                accumulate);
    }
    if (!tensor_given(dposition_table)) {
        return true;
    }
    int64_t rows = dposition_table->size[0];
#pragma omp parallel for schedule(static) num_threads(threads) if (threads > 1)
    for (int64_t t = 0; t < rows; t++) {
        sum_rows(dposition_table, t, dout, NULL, t, T, t < T ? N / T : 0, accumulate);
    }
    return true;
}

size_t CPU(embedding_scratch)(int64_t tokens, int64_t vocab, int64_t channels) {
    (void)channels;
    return (size_t)(tokens + vocab + 1) * sizeof(int32_t);
}

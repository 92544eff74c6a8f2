// Products of a linear layer: out = x·weightᵀ + bias, and its two gradients.
// x [M, K], weight [N, K], out [M, N].
#include "kernels/reference.h"

bool REF(matmul_forward)(struct stream *stream, struct tensor *out,
        struct tensor *scratch, const struct tensor *x, const struct tensor *weight,
        const struct tensor *bias, struct kernel_error *err) {
    (void)scratch;
    (void)err;
    int64_t N = weight->size[0], K = weight->size[1], M = tensor_count(x) / K;
    assert(tensor_count(x) == M * K && tensor_count(out) == M * N);
    for (int64_t m = 0; m < M; m++) {
        for (int64_t n = 0; n < N; n++) {
            double sum = tensor_given(bias) ? load(bias, n) : 0;
            for (int64_t k = 0; k < K; k++) {
                sum += (double)load_operand(stream, x, m * K + k) *
                       load_operand(stream, weight, n * K + k);
            }
            store(out, m * N + n, sum);
        }
    }
    return true;
}

bool REF(matmul_backward_input)(struct stream *stream, struct tensor *dx,
        struct tensor *scratch, const struct tensor *dout, const struct tensor *weight,
        bool accumulate, struct kernel_error *err) {
    (void)scratch;
    (void)err;
    int64_t N = weight->size[0], K = weight->size[1], M = tensor_count(dout) / N;
    assert(tensor_count(dout) == M * N && tensor_count(dx) == M * K);
    for (int64_t m = 0; m < M; m++) {
        for (int64_t k = 0; k < K; k++) {
            double sum = 0;
            for (int64_t n = 0; n < N; n++) {
                sum += (double)load_operand(stream, dout, m * N + n) *
                       load_operand(stream, weight, n * K + k);
            }
            store_sum(dx, m * K + k, sum, accumulate);
        }
    }
    return true;
}

bool REF(matmul_backward_weight)(struct stream *stream, struct tensor *dweight,
        struct tensor *dbias, struct tensor *scratch, const struct tensor *dout,
        const struct tensor *x, bool accumulate, struct kernel_error *err) {
    (void)scratch;
    (void)err;
    int64_t N = dweight->size[0], K = dweight->size[1], M = tensor_count(x) / K;
    assert(tensor_count(x) == M * K && tensor_count(dout) == M * N);
    for (int64_t n = 0; n < N; n++) {
        for (int64_t k = 0; k < K; k++) {
            double sum = 0;
            for (int64_t m = 0; m < M; m++) {
                sum += (double)load_operand(stream, dout, m * N + n) *
                       load_operand(stream, x, m * K + k);
            }
            store_sum(dweight, n * K + k, sum, accumulate);
        }
    }
    for (int64_t n = 0; tensor_given(dbias) && n < N; n++) {
        double sum = 0;
        for (int64_t m = 0; m < M; m++) {
            sum += load(dout, m * N + n);
        }
        store_sum(dbias, n, sum, accumulate);
    }
    return true;
}

size_t REF(matmul_scratch)(
        int64_t m, int64_t n, int64_t k, enum dtype type, int threads) {
    (void)m;
    (void)n;
    (void)k;
    (void)type;
    (void)threads;
    return 0;
}

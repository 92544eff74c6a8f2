// With 1 + tanh(u) = 2 sigmoid(2u): y = x·s, y′ = s + x·s(1 − s)·(2u)′.
#include "kernels/cpu/ops.h"

// 2u = x(ONE + CUBE·x²)
#define ONE 1.5957691216057308f
#define CUBE 0.07135481282553f

bool CPU(gelu_forward)(struct stream *stream, struct tensor *out,
        const struct tensor *in, struct kernel_error *err) {
    (void)err;
    int64_t count = tensor_count(in);
    assert(tensor_count(out) == count);
    int threads = threads_for(stream, 4 * tensor_bytes(in));
#pragma omp parallel for schedule(static) num_threads(threads) if (threads > 1)
    for (int64_t at = 0; at < count; at += CHUNK) {
        float room[2][CHUNK] ALIGNED;
        int64_t n = min_of(CHUNK, count - at);
        const float *x = read_floats(room[0], in, at, n);
        float *y = write_floats(room[1], out, at);
#pragma omp simd
        for (int64_t i = 0; i < n; i++) {
            y[i] = x[i] * fast_sigmoid(x[i] * (ONE + CUBE * x[i] * x[i]));
        }
        wrote_floats(out, at, y, n);
    }
    return true;
}

static inline float slope(float x) {
    // Beyond these s is 0 or 1, but x² could overflow.
    float c = x < -100 ? -100 : x;
    c = c > 100 ? 100 : c;
    float twice = c * (ONE + CUBE * c * c);
    float e = fast_exp(-twice), s = 1 / (1 + e);
    float rest = twice > 0 ? e * s : 1 - s; // 1 − s without cancellation
    return s + c * s * rest * (ONE + 3 * CUBE * c * c);
}

bool CPU(gelu_backward)(struct stream *stream, struct tensor *din,
        const struct tensor *dout, const struct tensor *in, struct kernel_error *err) {
    (void)err;
    int64_t count = tensor_count(in);
    assert(tensor_count(din) == count && tensor_count(dout) == count);
    int threads = threads_for(stream, 4 * tensor_bytes(in));
#pragma omp parallel for schedule(static) num_threads(threads) if (threads > 1)
    for (int64_t at = 0; at < count; at += CHUNK) {
        float room[3][CHUNK] ALIGNED;
        int64_t n = min_of(CHUNK, count - at);
        const float *x = read_floats(room[0], in, at, n);
        const float *d = read_floats(room[1], dout, at, n);
        float *dx = write_floats(room[2], din, at);
#pragma omp simd
        for (int64_t i = 0; i < n; i++) {
            dx[i] = d[i] * slope(x[i]);
        }
        wrote_floats(din, at, dx, n);
    }
    return true;
}

#include "kernels/cpu/ops.h"

bool CPU(swiglu_forward)(struct stream *stream, struct tensor *out,
        const struct tensor *gate_up, struct kernel_error *err) {
    (void)err;
    int64_t F = out->size[out->rank - 1], N = tensor_count(out) / F;
    assert(tensor_count(gate_up) == 2 * N * F);
    int threads = threads_for(stream, 2 * tensor_bytes(gate_up));
#pragma omp parallel for schedule(static) num_threads(threads) if (threads > 1)
    for (int64_t row = 0; row < N; row++) {
        for (int64_t f = 0; f < F; f += CHUNK) {
            float room[3][CHUNK] ALIGNED;
            int64_t n = min_of(CHUNK, F - f), at = row * 2 * F + f;
            const float *g = read_floats(room[0], gate_up, at, n);
            const float *u = read_floats(room[1], gate_up, at + F, n);
            float *y = write_floats(room[2], out, row * F + f);
#pragma omp simd
            for (int64_t i = 0; i < n; i++) {
                y[i] = g[i] * fast_sigmoid(g[i]) * u[i];
            }
            wrote_floats(out, row * F + f, y, n);
        }
    }
    return true;
}

bool CPU(swiglu_backward)(struct stream *stream, struct tensor *dgate_up,
        const struct tensor *dout, const struct tensor *gate_up,
        struct kernel_error *err) {
    (void)err;
    int64_t F = dout->size[dout->rank - 1], N = tensor_count(dout) / F;
    assert(tensor_count(gate_up) == 2 * N * F && tensor_count(dgate_up) == 2 * N * F);
    int threads = threads_for(stream, 2 * tensor_bytes(gate_up));
#pragma omp parallel for schedule(static) num_threads(threads) if (threads > 1)
    for (int64_t row = 0; row < N; row++) {
        for (int64_t f = 0; f < F; f += CHUNK) {
            float room[5][CHUNK] ALIGNED;
            int64_t n = min_of(CHUNK, F - f), at = row * 2 * F + f;
            const float *g = read_floats(room[0], gate_up, at, n);
            const float *u = read_floats(room[1], gate_up, at + F, n);
            const float *d = read_floats(room[2], dout, row * F + f, n);
            float *dg = write_floats(room[3], dgate_up, at);
            float *du = write_floats(room[4], dgate_up, at + F);
#pragma omp simd
            for (int64_t i = 0; i < n; i++) {
                float gate = g[i], up = u[i];
                float e = fast_exp(-gate), s = 1 / (1 + e);
                float rest = gate > 0 ? e * s : 1 - s;
                dg[i] = d[i] * up * (s * (1 + gate * rest));
                du[i] = d[i] * (gate * s);
            }
            wrote_floats(dgate_up, at, dg, n);
            wrote_floats(dgate_up, at + F, du, n);
        }
    }
    return true;
}

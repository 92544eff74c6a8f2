// y = silu(g) × u, silu(g) = g ÷ (1 + e^−g). Rows hold F gates, then F ups.
#include <tgmath.h>

#include "kernels/reference.h"

bool REF(swiglu_forward)(struct stream *stream, struct tensor *out,
        const struct tensor *gate_up, struct kernel_error *err) {
    (void)stream;
    (void)err;
    int64_t F = out->size[out->rank - 1], N = tensor_count(out) / F;
    assert(tensor_count(gate_up) == 2 * N * F);
    for (int64_t n = 0; n < N; n++) {
        for (int64_t f = 0; f < F; f++) {
            real g = load(gate_up, n * 2 * F + f);
            real u = load(gate_up, n * 2 * F + F + f);
            store(out, n * F + f, g / (1 + exp(-g)) * u);
        }
    }
    return true;
}

bool REF(swiglu_backward)(struct stream *stream, struct tensor *dgate_up,
        const struct tensor *dout, const struct tensor *gate_up,
        struct kernel_error *err) {
    (void)stream;
    (void)err;
    int64_t F = dout->size[dout->rank - 1], N = tensor_count(dout) / F;
    assert(tensor_count(gate_up) == 2 * N * F && tensor_count(dgate_up) == 2 * N * F);
    for (int64_t n = 0; n < N; n++) {
        for (int64_t f = 0; f < F; f++) {
            real g = load(gate_up, n * 2 * F + f);
            real u = load(gate_up, n * 2 * F + F + f);
            real d = load(dout, n * F + f);
            real s = 1 / (1 + exp(-g)), rest = 1 / (1 + exp(g)); // rest = 1 − s
            store(dgate_up, n * 2 * F + f, d * u * s * (1 + g * rest));
            store(dgate_up, n * 2 * F + F + f, d * g * s);
        }
    }
    return true;
}

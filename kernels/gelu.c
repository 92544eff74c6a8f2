// The tanh form of GELU, as GPT-2: y = 0.5x(1 + tanh(√(2/π)(x + 0.044715x³))).
#include <tgmath.h>

#include "kernels/reference.h"

static const real root_2_over_pi = (real)0.79788456080286535588;
static const real cubic = (real)0.044715;

bool REF(gelu_forward)(struct stream *stream, struct tensor *out,
        const struct tensor *in, struct kernel_error *err) {
    (void)stream;
    (void)err;
    int64_t count = tensor_count(in);
    assert(tensor_count(out) == count);
    for (int64_t i = 0; i < count; i++) {
        real x = load(in, i);
        real t = tanh(root_2_over_pi * (x + cubic * x * x * x));
        store(out, i, (real)0.5 * x * (1 + t));
    }
    return true;
}

bool REF(gelu_backward)(struct stream *stream, struct tensor *din,
        const struct tensor *dout, const struct tensor *in, struct kernel_error *err) {
    (void)stream;
    (void)err;
    int64_t count = tensor_count(in);
    assert(tensor_count(din) == count && tensor_count(dout) == count);
    for (int64_t i = 0; i < count; i++) {
        real x = load(in, i);
        real u = root_2_over_pi * (x + cubic * x * x * x);
        real du = root_2_over_pi * (1 + 3 * cubic * x * x);
        real t = tanh(u);
        real c = 1 / cosh(u); // 1 − tanh² without its cancellation
        real slope = (real)0.5 * (1 + t);
        // Where cosh overflows the second term is 0, but du may be infinite.
        if (c > 0) {
            slope += (real)0.5 * x * (c * du * c);
        }
        store(din, i, load(dout, i) * slope);
    }
    return true;
}

// out = x × rstd × weight, rstd = 1/√(mean x² + eps), over the last dimension C.
#include <math.h>

#include "kernels/reference.h"

static const double epsilon = 1e-5;

bool REF(rmsnorm_forward)(struct stream *stream, struct tensor *out,
        struct tensor *rstd, struct tensor *sum, const struct tensor *x,
        const struct tensor *y, const struct tensor *weight, struct kernel_error *err) {
    (void)stream;
    (void)err;
    int64_t C = tensor_count(weight), N = tensor_count(x) / C;
    const struct tensor *in = tensor_given(y) ? sum : x;
    for (int64_t n = 0; n < N; n++) {
        double squares = 0;
        for (int64_t c = n * C; c < (n + 1) * C; c++) {
            if (tensor_given(y)) {
                store(sum, c, (double)load(x, c) + load(y, c));
            }
            squares += (double)load(in, c) * load(in, c);
        }
        double r = 1 / sqrt(squares / (double)C + epsilon);
        for (int64_t c = 0; c < C; c++) {
            store(out, n * C + c, load(in, n * C + c) * r * load(weight, c));
        }
        if (tensor_given(rstd)) {
            store(rstd, n, r);
        }
    }
    return true;
}

bool REF(rmsnorm_backward)(struct stream *stream, struct tensor *dx,
        struct tensor *dweight, struct tensor *scratch, const struct tensor *dsum,
        const struct tensor *dout, const struct tensor *x, const struct tensor *rstd,
        const struct tensor *weight, bool accumulate_weights,
        struct kernel_error *err) {
    (void)stream;
    (void)scratch;
    (void)err;
    int64_t C = tensor_count(weight), N = tensor_count(x) / C;
    for (int64_t c = 0; c < C; c++) {
        double dw = 0;
        for (int64_t n = 0; n < N; n++) {
            dw += (double)load(dout, n * C + c) * load(x, n * C + c) * load(rstd, n);
        }
        store_sum(dweight, c, dw, accumulate_weights);
    }
    for (int64_t n = 0; n < N; n++) {
        double r = load(rstd, n), mean_gx = 0; // of dout × weight × x̂
        for (int64_t c = 0; c < C; c++) {
            double g = (double)load(dout, n * C + c) * load(weight, c);
            mean_gx += g * load(x, n * C + c) * r / (double)C;
        }
        for (int64_t c = 0; c < C; c++) {
            double g = (double)load(dout, n * C + c) * load(weight, c);
            double hat = load(x, n * C + c) * r;
            double other = tensor_given(dsum) ? load(dsum, n * C + c) : 0;
            store(dx, n * C + c, other + r * (g - hat * mean_gx));
        }
    }
    return true;
}

// x̂ = (x − mean) × rstd, out = x̂ × weight + bias, over the last dimension C.
#include <math.h>

#include "kernels/reference.h"

static const double epsilon = 1e-5;

bool REF(layernorm_forward)(struct stream *stream, struct tensor *out,
        struct tensor *mean, struct tensor *rstd, struct tensor *sum,
        const struct tensor *x, const struct tensor *y, const struct tensor *weight,
        const struct tensor *bias, struct kernel_error *err) {
    (void)stream;
    (void)err;
    int64_t C = tensor_count(weight), N = tensor_count(x) / C;
    const struct tensor *in = tensor_given(y) ? sum : x;
    for (int64_t n = 0; n < N; n++) {
        double m = 0, v = 0;
        for (int64_t c = n * C; c < (n + 1) * C; c++) {
            if (tensor_given(y)) {
                store(sum, c, (double)load(x, c) + load(y, c));
            }
            m += load(in, c);
        }
        m /= (double)C;
        for (int64_t c = n * C; c < (n + 1) * C; c++) {
            v += (load(in, c) - m) * (load(in, c) - m);
        }
        double r = 1 / sqrt(v / (double)C + epsilon);
        for (int64_t c = 0; c < C; c++) {
            double hat = (load(in, n * C + c) - m) * r;
            store(out, n * C + c, hat * load(weight, c) + load(bias, c));
        }
        if (tensor_given(mean)) {
            store(mean, n, m);
        }
        if (tensor_given(rstd)) {
            store(rstd, n, r);
        }
    }
    return true;
}

static void layernorm_backward_weights(struct tensor *dweight, struct tensor *dbias,
        const struct tensor *dout, const struct tensor *x, const struct tensor *mean,
        const struct tensor *rstd, bool accumulate) {
    int64_t C = tensor_count(dweight), N = tensor_count(x) / C;
    for (int64_t c = 0; c < C; c++) {
        double dw = 0, db = 0;
        for (int64_t n = 0; n < N; n++) {
            double d = load(dout, n * C + c);
            dw += d * ((double)load(x, n * C + c) - load(mean, n)) * load(rstd, n);
            db += d;
        }
        store_sum(dweight, c, dw, accumulate);
        store_sum(dbias, c, db, accumulate);
    }
}

bool REF(layernorm_backward)(struct stream *stream, struct tensor *dx,
        struct tensor *dweight, struct tensor *dbias, struct tensor *scratch,
        const struct tensor *dsum, const struct tensor *dout, const struct tensor *x,
        const struct tensor *mean, const struct tensor *rstd,
        const struct tensor *weight, bool accumulate_weights,
        struct kernel_error *err) {
    (void)stream;
    (void)scratch;
    (void)err;
    int64_t C = tensor_count(weight), N = tensor_count(x) / C;
    layernorm_backward_weights(dweight, dbias, dout, x, mean, rstd, accumulate_weights);
    for (int64_t n = 0; n < N; n++) {
        double m = load(mean, n), r = load(rstd, n);
        double mean_g = 0, mean_gx = 0; // of g = dout × weight, and of g × x̂
        for (int64_t c = 0; c < C; c++) {
            double g = (double)load(dout, n * C + c) * load(weight, c);
            mean_g += g / (double)C;
            mean_gx += g * (load(x, n * C + c) - m) * r / (double)C;
        }
        for (int64_t c = 0; c < C; c++) {
            double g = (double)load(dout, n * C + c) * load(weight, c);
            double hat = (load(x, n * C + c) - m) * r;
            double other = tensor_given(dsum) ? load(dsum, n * C + c) : 0;
            store(dx, n * C + c, other + r * (g - mean_g - hat * mean_gx));
        }
    }
    return true;
}

size_t REF(layernorm_scratch)(int64_t rows, int64_t channels, int threads) {
    (void)rows;
    (void)channels;
    (void)threads;
    return 0;
}

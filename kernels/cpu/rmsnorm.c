// As layernorm.c, without mean and bias.
#include <math.h>

#include "kernels/cpu/norm.h"
#include "kernels/cpu/ops.h"

#define EPSILON 1e-5f

static float row_rstd(const struct tensor *sum, const struct tensor *x,
        const struct tensor *y, int64_t at, int64_t C) {
    double total = 0;
    for (int64_t c = 0; c < C; c += CHUNK) {
        float room[3][CHUNK] ALIGNED, part = 0;
        int64_t n = min_of(CHUNK, C - c);
        const float *in = read_floats(room[0], x, at + c, n);
        if (tensor_given(y)) {
            const float *more = read_floats(room[1], y, at + c, n);
            float *to = write_floats(room[2], sum, at + c);
#pragma omp simd
            for (int64_t i = 0; i < n; i++) {
                to[i] = in[i] + more[i];
            }
            wrote_floats(sum, at + c, to, n);
            in = read_floats(room[2], sum, at + c, n);
        }
#pragma omp simd reduction(+ : part)
        for (int64_t i = 0; i < n; i++) {
            part += in[i] * in[i];
        }
        total += (double)part;
    }
    return 1 / sqrtf((float)(total / (double)C) + EPSILON);
}

bool CPU(rmsnorm_forward)(struct stream *stream, struct tensor *out,
        struct tensor *rstd, struct tensor *sum, const struct tensor *x,
        const struct tensor *y, const struct tensor *weight, struct kernel_error *err) {
    (void)err;
    int64_t C = tensor_count(weight), N = tensor_count(x) / C;
    const struct tensor *in = tensor_given(y) ? sum : x;
    int threads = threads_for(stream, 2 * tensor_bytes(x));
#pragma omp parallel for schedule(static) num_threads(threads) if (threads > 1)
    for (int64_t row = 0; row < N; row++) {
        float r = row_rstd(sum, x, y, row * C, C);
        for (int64_t c = 0; c < C; c += CHUNK) {
            float room[3][CHUNK] ALIGNED;
            int64_t n = min_of(CHUNK, C - c), at = row * C + c;
            const float *from = read_floats(room[0], in, at, n);
            const float *w = read_floats(room[1], weight, c, n);
            float *to = write_floats(room[2], out, at);
#pragma omp simd
            for (int64_t i = 0; i < n; i++) {
                to[i] = from[i] * r * w[i];
            }
            wrote_floats(out, at, to, n);
        }
        if (tensor_given(rstd)) {
            ((float *)rstd->data)[row] = r;
        }
    }
    return true;
}

struct backward {
    struct tensor *dx;
    const struct tensor *dsum, *dout, *x, *weight;
    int64_t C;
};

// Adds a row to dw [C] and writes its dx.
static void row_backward(const struct backward *k, int64_t at, float rstd, float *dw) {
    double total = 0;
    for (int64_t c = 0; c < k->C; c += CHUNK) {
        float room[3][CHUNK] ALIGNED, part = 0;
        int64_t n = min_of(CHUNK, k->C - c);
        const float *d = read_floats(room[0], k->dout, at + c, n);
        const float *in = read_floats(room[1], k->x, at + c, n);
        const float *w = read_floats(room[2], k->weight, c, n);
        float *to = dw + c;
#pragma omp simd reduction(+ : part)
        for (int64_t i = 0; i < n; i++) {
            float hat = in[i] * rstd;
            part += d[i] * w[i] * hat;
            to[i] += d[i] * hat;
        }
        total += (double)part;
    }
    float mean_gx = (float)(total / (double)k->C);
    for (int64_t c = 0; c < k->C; c += CHUNK) {
        float room[5][CHUNK] ALIGNED;
        int64_t n = min_of(CHUNK, k->C - c);
        const float *d = read_floats(room[0], k->dout, at + c, n);
        const float *in = read_floats(room[1], k->x, at + c, n);
        const float *w = read_floats(room[2], k->weight, c, n);
        const float *old =
                tensor_given(k->dsum) ? read_floats(room[3], k->dsum, at + c, n) : NULL;
        float *to = write_floats(room[4], k->dx, at + c);
        if (old) {
#pragma omp simd
            for (int64_t i = 0; i < n; i++) {
                to[i] = old[i] + rstd * (d[i] * w[i] - in[i] * rstd * mean_gx);
            }
        } else {
#pragma omp simd
            for (int64_t i = 0; i < n; i++) {
                to[i] = rstd * (d[i] * w[i] - in[i] * rstd * mean_gx);
            }
        }
        wrote_floats(k->dx, at + c, to, n);
    }
}

bool CPU(rmsnorm_backward)(struct stream *stream, struct tensor *dx,
        struct tensor *dweight, struct tensor *scratch, const struct tensor *dsum,
        const struct tensor *dout, const struct tensor *x, const struct tensor *rstd,
        const struct tensor *weight, bool accumulate_weights,
        struct kernel_error *err) {
    (void)err;
    int64_t C = tensor_count(weight), N = tensor_count(x) / C;
    int64_t blocks = norm_blocks(N), rows = (N + blocks - 1) / blocks;
    struct backward k = {dx, dsum, dout, x, weight, C};
    float *partial = scratch->data; // [blocks][C]
    int threads = threads_for(stream, 2 * tensor_bytes(x));
#pragma omp parallel for schedule(static) num_threads(threads) if (threads > 1)
    for (int64_t block = 0; block < blocks; block++) {
        float *dw = partial + block * C;
        memset(dw, 0, (size_t)C * sizeof(*dw));
        for (int64_t n = block * rows; n < min_of((block + 1) * rows, N); n++) {
            row_backward(&k, n * C, ((const float *)rstd->data)[n], dw);
        }
    }
    norm_sum_blocks(dweight, partial, blocks, C, accumulate_weights);
    return true;
}

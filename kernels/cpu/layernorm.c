// Rows are independent but for the weight gradients, which are summed over a fixed
// number of row blocks first: the bits don't depend on how many threads there are.
#include <math.h>

#include "kernels/cpu/norm.h"
#include "kernels/cpu/ops.h"

#define EPSILON 1e-5f

// sum = x + y in the sum's type where y is given; what is normalised, and its mean.
static float row_sum(const struct tensor *sum, const struct tensor *x,
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
            part += in[i];
        }
        total += (double)part;
    }
    return (float)(total / (double)C);
}

static float row_rstd(const struct tensor *x, int64_t at, int64_t C, float mean) {
    double total = 0;
    for (int64_t c = 0; c < C; c += CHUNK) {
        float room[CHUNK] ALIGNED, part = 0;
        int64_t n = min_of(CHUNK, C - c);
        const float *in = read_floats(room, x, at + c, n);
#pragma omp simd reduction(+ : part)
        for (int64_t i = 0; i < n; i++) {
            part += (in[i] - mean) * (in[i] - mean);
        }
        total += (double)part;
    }
    return 1 / sqrtf((float)(total / (double)C) + EPSILON);
}

static void row_out(const struct tensor *out, const struct tensor *x, int64_t at,
        int64_t C, const struct tensor *weight, const struct tensor *bias, float mean,
        float rstd) {
    for (int64_t c = 0; c < C; c += CHUNK) {
        float room[4][CHUNK] ALIGNED;
        int64_t n = min_of(CHUNK, C - c);
        const float *in = read_floats(room[0], x, at + c, n);
        const float *w = read_floats(room[1], weight, c, n);
        const float *b = read_floats(room[2], bias, c, n);
        float *to = write_floats(room[3], out, at + c);
#pragma omp simd
        for (int64_t i = 0; i < n; i++) {
            to[i] = (in[i] - mean) * rstd * w[i] + b[i];
        }
        wrote_floats(out, at + c, to, n);
    }
}

bool CPU(layernorm_forward)(struct stream *stream, struct tensor *out,
        struct tensor *mean, struct tensor *rstd, struct tensor *sum,
        const struct tensor *x, const struct tensor *y, const struct tensor *weight,
        const struct tensor *bias, struct kernel_error *err) {
    (void)err;
    int64_t C = tensor_count(weight), N = tensor_count(x) / C;
    const struct tensor *in = tensor_given(y) ? sum : x;
    int threads = threads_for(stream, 2 * tensor_bytes(x));
#pragma omp parallel for schedule(static) num_threads(threads) if (threads > 1)
    for (int64_t n = 0; n < N; n++) {
        float m = row_sum(sum, x, y, n * C, C);
        float r = row_rstd(in, n * C, C, m);
        row_out(out, in, n * C, C, weight, bias, m, r);
        if (tensor_given(mean)) {
            ((float *)mean->data)[n] = m;
        }
        if (tensor_given(rstd)) {
            ((float *)rstd->data)[n] = r;
        }
    }
    return true;
}

struct backward {
    struct tensor *dx;
    const struct tensor *dsum, *dout, *x, *weight;
    int64_t C;
};

// Adds a row to dw and db [C] and writes its dx.
static void row_backward(const struct backward *k, int64_t at, float mean, float rstd,
        float *dw, float *db) {
    double total_g = 0, total_gx = 0;
    for (int64_t c = 0; c < k->C; c += CHUNK) {
        float room[3][CHUNK] ALIGNED, sum_g = 0, sum_gx = 0;
        int64_t n = min_of(CHUNK, k->C - c);
        const float *d = read_floats(room[0], k->dout, at + c, n);
        const float *in = read_floats(room[1], k->x, at + c, n);
        const float *w = read_floats(room[2], k->weight, c, n);
        float *to_w = dw + c, *to_b = db + c;
#pragma omp simd reduction(+ : sum_g, sum_gx)
        for (int64_t i = 0; i < n; i++) {
            float hat = (in[i] - mean) * rstd, g = d[i] * w[i];
            sum_g += g;
            sum_gx += g * hat;
            to_w[i] += d[i] * hat;
            to_b[i] += d[i];
        }
        total_g += (double)sum_g;
        total_gx += (double)sum_gx;
    }
    float mean_g = (float)(total_g / (double)k->C);
    float mean_gx = (float)(total_gx / (double)k->C);
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
                float hat = (in[i] - mean) * rstd;
                to[i] = old[i] + rstd * (d[i] * w[i] - mean_g - hat * mean_gx);
            }
        } else {
#pragma omp simd
            for (int64_t i = 0; i < n; i++) {
                float hat = (in[i] - mean) * rstd;
                to[i] = rstd * (d[i] * w[i] - mean_g - hat * mean_gx);
            }
        }
        wrote_floats(k->dx, at + c, to, n);
    }
}

bool CPU(layernorm_backward)(struct stream *stream, struct tensor *dx,
        struct tensor *dweight, struct tensor *dbias, struct tensor *scratch,
        const struct tensor *dsum, const struct tensor *dout, const struct tensor *x,
        const struct tensor *mean, const struct tensor *rstd,
        const struct tensor *weight, bool accumulate_weights,
        struct kernel_error *err) {
    (void)err;
    int64_t C = tensor_count(weight), N = tensor_count(x) / C;
    int64_t blocks = norm_blocks(N), rows = (N + blocks - 1) / blocks;
    struct backward k = {dx, dsum, dout, x, weight, C};
    float *partial = scratch->data; // [blocks][2][C]
    int threads = threads_for(stream, 2 * tensor_bytes(x));
#pragma omp parallel for schedule(static) num_threads(threads) if (threads > 1)
    for (int64_t block = 0; block < blocks; block++) {
        float *dw = partial + block * 2 * C, *db = dw + C;
        memset(dw, 0, (size_t)(2 * C) * sizeof(*dw));
        for (int64_t n = block * rows; n < min_of((block + 1) * rows, N); n++) {
            row_backward(&k, n * C, ((const float *)mean->data)[n],
                    ((const float *)rstd->data)[n], dw, db);
        }
    }
    norm_sum_blocks(dweight, partial, blocks, 2 * C, accumulate_weights);
    norm_sum_blocks(dbias, partial + C, blocks, 2 * C, accumulate_weights);
    return true;
}

size_t CPU(layernorm_scratch)(int64_t rows, int64_t channels, int threads) {
    (void)threads;
    return (size_t)(norm_blocks(rows) * 2 * channels) * sizeof(float);
}

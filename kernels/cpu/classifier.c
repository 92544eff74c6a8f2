#include <math.h>

#include "kernels/cpu/ops.h"

static float row_max(const struct tensor *logits, int64_t row, int64_t vocab) {
    float highest = -INFINITY;
    for (int64_t v = 0; v < vocab; v += CHUNK) {
        float room[CHUNK] ALIGNED;
        int64_t n = min_of(CHUNK, vocab - v);
        const float *x = read_floats(room, logits, row + v, n);
#pragma omp simd reduction(max : highest)
        for (int64_t i = 0; i < n; i++) {
            highest = x[i] > highest ? x[i] : highest;
        }
    }
    return highest;
}

static double row_sum(
        const struct tensor *logits, int64_t row, int64_t vocab, float highest) {
    double total = 0;
    for (int64_t v = 0; v < vocab; v += CHUNK) {
        float room[CHUNK] ALIGNED, sum = 0;
        int64_t n = min_of(CHUNK, vocab - v);
        const float *x = read_floats(room, logits, row + v, n);
#pragma omp simd reduction(+ : sum)
        for (int64_t i = 0; i < n; i++) {
            sum += fast_exp(x[i] - highest);
        }
        total += (double)sum;
    }
    return total;
}

static float element(const struct tensor *t, int64_t at) {
    float value;
    load_floats(&value, t, at, 1);
    return value;
}

// No logit before the target is as high: it is the first of the best.
static bool target_is_best(
        const struct tensor *logits, int64_t row, int64_t target, float highest) {
    if (element(logits, row + target) != highest) {
        return false;
    }
    for (int64_t v = 0; v < target; v++) {
        if (element(logits, row + v) == highest) {
            return false;
        }
    }
    return true;
}

// (softmax − onehot) × scale over the row, scale 0 and padding giving zeros.
static void row_gradient(const struct tensor *logits, int64_t row, int64_t V,
        int64_t vocab, int64_t target, float highest, double sum, double scale) {
    float share = (float)(scale / sum);
    for (int64_t v = 0; v < V; v += CHUNK) {
        float room[CHUNK] ALIGNED;
        int64_t n = min_of(CHUNK, V - v), real = min_of(CHUNK, vocab - v);
        real = target < 0 || real < 0 ? 0 : real;
        float *x = write_floats(room, logits, row + v);
        if (logits->type != DTYPE_F32) {
            load_floats(x, logits, row + v, n);
        }
#pragma omp simd
        for (int64_t i = 0; i < real; i++) {
            x[i] = fast_exp(x[i] - highest) * share;
        }
        for (int64_t i = real; i < n; i++) {
            x[i] = 0;
        }
        if (target >= v && target < v + n) {
            x[target - v] -= (float)scale;
        }
        wrote_floats(logits, row + v, x, n);
    }
}

bool CPU(classifier)(struct stream *stream, struct tensor *losses,
        struct tensor *correct, struct tensor *logits, const struct tensor *targets,
        const struct tensor *control, int64_t vocab, bool gradient, float factor,
        struct kernel_error *err) {
    (void)err;
    int64_t N = tensor_count(targets), V = tensor_count(logits) / N;
    const int32_t *target = targets->data;
    float *loss = losses->data, *hit = correct->data;
    assert(vocab > 0 && vocab <= V);
    double scale = gradient ? (double)factor *
                                      ((const float *)control->data)[CONTROL_LOSS_SCALE]
                            : 0;
    int threads = threads_for(stream, 4 * tensor_bytes(logits));
#pragma omp parallel for schedule(static) num_threads(threads) if (threads > 1)
    for (int64_t n = 0; n < N; n++) {
        int64_t row = n * V;
        float highest = row_max(logits, row, vocab);
        double sum = row_sum(logits, row, vocab, highest);
        assert(target[n] < vocab);
        loss[n] = 0;
        hit[n] = 0;
        if (target[n] >= 0) {
            float at = element(logits, row + target[n]);
            loss[n] = (float)(log(sum) - ((double)at - highest));
            hit[n] = target_is_best(logits, row, target[n], highest);
        }
        if (gradient) {
            row_gradient(logits, row, V, vocab, target[n], highest, sum, scale);
        }
    }
    return true;
}

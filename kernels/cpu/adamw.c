#include <math.h>

#include "kernels/cpu/ops.h"

bool CPU(adamw)(struct stream *stream, struct tensor *weights, struct tensor *master,
        struct tensor *first_moment, struct tensor *second_moment,
        const struct tensor *grads, const struct tensor *decayed,
        const struct tensor *owned, const struct tensor *control,
        const struct adamw_options *options, struct kernel_error *err) {
    (void)err;
    const float *told = control->data;
    if (told[CONTROL_OVERFLOW] != 0) {
        return true;
    }
    double updates = told[CONTROL_UPDATES];
    float b1 = options->beta1, b2 = options->beta2, factor = told[CONTROL_GRAD_FACTOR];
    float rest1 = (float)(1 - (double)b1), rest2 = (float)(1 - (double)b2);
    float rate = (float)(told[CONTROL_LR] / (1 - pow(b1, updates)));
    float spread = (float)(1 / sqrt(1 - pow(b2, updates)));
    float shrink = (float)(1 - (double)told[CONTROL_LR] * options->weight_decay);
    const uint8_t *map = tensor_given(decayed) ? decayed->data : NULL;
    float epsilon = options->epsilon, *all = master->data;
    const int32_t *numbers = tensor_given(owned) ? owned->data : NULL;
    bool apart = weights->data != master->data;
    int64_t count = tensor_count(first_moment);
    assert(tensor_count(weights) == tensor_count(grads));
    assert(numbers ? tensor_count(owned) * NORM_CHUNK == count
                   : tensor_count(weights) == count);
    static_assert(NORM_CHUNK % CHUNK == 0 && CHUNK % ADAMW_BLOCK == 0,
            "what is handled at a time lies in one chunk, in whole blocks");
    int threads = threads_for(stream, 4 * tensor_bytes(first_moment));
#pragma omp parallel for schedule(static) num_threads(threads) if (threads > 1)
    for (int64_t at = 0; at < count; at += CHUNK) {
        float room[CHUNK] ALIGNED;
        int64_t n = min_of(CHUNK, count - at), place = at;
        if (numbers) {
            place = (int64_t)numbers[at / NORM_CHUNK] * NORM_CHUNK + at % NORM_CHUNK;
        }
        const float *grad = read_floats(room, grads, place, n);
        float *m = (float *)first_moment->data + at, *w = all + (apart ? at : place);
        float *v = (float *)second_moment->data + at;
        for (int64_t from = 0; from < n; from += ADAMW_BLOCK) {
            int64_t to = min_of(from + ADAMW_BLOCK, n);
            float keep = !map || map[(place + from) / ADAMW_BLOCK] ? shrink : 1;
#pragma omp simd
            for (int64_t i = from; i < to; i++) {
                float g = grad[i] * factor;
                m[i] = b1 * m[i] + rest1 * g;
                v[i] = b2 * v[i] + rest2 * g * g;
                w[i] = keep * w[i] - rate * m[i] / (sqrtf(v[i]) * spread + epsilon);
            }
        }
        if (apart) {
            store_floats(weights, place, w, n);
        }
    }
    return true;
}

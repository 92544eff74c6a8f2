// The gradient's norm, whether it may be used, and by what it is multiplied.
#include <math.h>

#include "kernels/reference.h"

bool REF(norm_partials)(struct stream *stream, struct tensor *partials,
        const struct tensor *grads, const struct tensor *owned,
        struct kernel_error *err) {
    (void)stream;
    (void)err;
    int64_t count = tensor_count(grads), chunks = tensor_count(partials);
    const int32_t *numbers = tensor_given(owned) ? owned->data : NULL;
    assert(numbers || chunks == (count + NORM_CHUNK - 1) / NORM_CHUNK);
    for (int64_t k = 0; k < (numbers ? tensor_count(owned) : chunks); k++) {
        int64_t chunk = numbers ? numbers[k] : k;
        assert(chunk < chunks);
        int64_t end =
                (chunk + 1) * NORM_CHUNK < count ? (chunk + 1) * NORM_CHUNK : count;
        double sum = 0;
        for (int64_t i = chunk * NORM_CHUNK; i < end; i++) {
            sum += (double)load(grads, i) * load(grads, i);
        }
        store(partials, chunk, sum);
    }
    return true;
}

bool REF(clip)(struct stream *stream, struct tensor *control,
        const struct tensor *partials, const struct clip_options *options,
        struct kernel_error *err) {
    (void)stream;
    (void)err;
    double sum = 0, scale = load(control, CONTROL_LOSS_SCALE);
    for (int64_t i = 0; i < tensor_count(partials); i++) {
        sum += load(partials, i);
    }
    double norm = sqrt(sum) / scale, factor = 1;
    if (options->clip > 0 && norm > options->clip) {
        factor = options->clip / norm;
    }
    bool overflow = !isfinite(sum);
    double good = (double)load(control, CONTROL_GOOD_STEPS) + 1;
    store(control, CONTROL_GRAD_NORM, norm);
    store(control, CONTROL_GRAD_FACTOR, overflow ? 0 : factor / scale);
    store(control, CONTROL_OVERFLOW, overflow);
    store_sum(control, overflow ? CONTROL_SKIPPED : CONTROL_UPDATES, 1, true);
    if (!options->dynamic_scale) {
        return true;
    }
    if (overflow) {
        scale = fmax(scale / 2, LOSS_SCALE_MIN);
        good = 0;
    } else if (good >= options->growth_steps) {
        scale = fmin(scale * 2, LOSS_SCALE_MAX);
        good = 0;
    }
    store(control, CONTROL_LOSS_SCALE, scale);
    store(control, CONTROL_GOOD_STEPS, good);
    return true;
}

// AdamW with decoupled decay (Loshchilov & Hutter), moments corrected for their start.
#include <math.h>

#include "kernels/reference.h"

bool REF(adamw)(struct stream *stream, struct tensor *weights, struct tensor *master,
        struct tensor *first_moment, struct tensor *second_moment,
        const struct tensor *grads, const struct tensor *decayed,
        const struct tensor *owned, const struct tensor *control,
        const struct adamw_options *options, struct kernel_error *err) {
    (void)stream;
    (void)err;
    if (load(control, CONTROL_OVERFLOW) != 0) {
        return true;
    }
    double b1 = options->beta1, b2 = options->beta2;
    double lr = load(control, CONTROL_LR), updates = load(control, CONTROL_UPDATES);
    double correct1 = 1 - pow(b1, updates), correct2 = 1 - pow(b2, updates);
    const uint8_t *map = tensor_given(decayed) ? decayed->data : NULL;
    const int32_t *numbers = tensor_given(owned) ? owned->data : NULL;
    bool apart = weights->data != master->data;
    int64_t count = tensor_count(first_moment);
    assert(tensor_count(weights) == tensor_count(grads));
    assert(numbers ? tensor_count(owned) * NORM_CHUNK == count
                   : tensor_count(weights) == count);
    for (int64_t i = 0; i < count; i++) {
        int64_t in_chunk = i % NORM_CHUNK;
        int64_t place =
                numbers ? (int64_t)numbers[i / NORM_CHUNK] * NORM_CHUNK + in_chunk : i;
        int64_t in_master = apart ? i : place;
        double g = (double)load(grads, place) * load(control, CONTROL_GRAD_FACTOR);
        double m = b1 * load(first_moment, i) + (1 - b1) * g;
        double v = b2 * load(second_moment, i) + (1 - b2) * g * g;
        double w = load(master, in_master);
        bool decays = !map || map[place / ADAMW_BLOCK];
        double decay = decays ? options->weight_decay : 0;
        double step = m / correct1 / (sqrt(v / correct2) + options->epsilon);
        store(first_moment, i, m);
        store(second_moment, i, v);
        store(master, in_master, w - lr * (step + decay * w));
        if (apart) {
            store(weights, place, load(master, in_master));
        }
    }
    return true;
}

// Softmax cross-entropy over rows of logits [N, V], of which the first `vocab` count.
#include <math.h>

#include "kernels/reference.h"

// Loss of one row; `highest` and `sum` (of e^(logit − highest)) are its softmax.
static double row_softmax(const struct tensor *logits, int64_t row, int64_t vocab,
        double *highest, int64_t *first_best) {
    *highest = load(logits, row);
    *first_best = 0;
    for (int64_t v = 1; v < vocab; v++) {
        if (load(logits, row + v) > *highest) {
            *highest = load(logits, row + v);
            *first_best = v;
        }
    }
    double sum = 0;
    for (int64_t v = 0; v < vocab; v++) {
        sum += exp(load(logits, row + v) - *highest);
    }
    return sum;
}

bool REF(classifier)(struct stream *stream, struct tensor *losses,
        struct tensor *correct, struct tensor *logits, const struct tensor *targets,
        const struct tensor *control, int64_t vocab, bool gradient, float factor,
        struct kernel_error *err) {
    (void)stream;
    (void)err;
    int64_t N = tensor_count(targets), V = tensor_count(logits) / N;
    assert(vocab > 0 && vocab <= V);
    double scale = gradient ? (double)factor * load(control, CONTROL_LOSS_SCALE) : 0;
    for (int64_t n = 0; n < N; n++) {
        int64_t target = load_index(targets, n), row = n * V, best;
        double highest, sum = row_softmax(logits, row, vocab, &highest, &best);
        assert(target < vocab);
        store(losses, n,
                target < 0 ? 0 : log(sum) - (load(logits, row + target) - highest));
        store(correct, n, target == best);
        for (int64_t v = 0; gradient && v < V; v++) {
            double slope = 0;
            if (v < vocab && target >= 0) {
                slope = exp(load(logits, row + v) - highest) / sum - (v == target);
            }
            store(logits, row + v, slope * scale);
        }
    }
    return true;
}

bool REF(loss_sum)(struct stream *stream, struct tensor *control,
        const struct tensor *losses, const struct tensor *correct, float factor,
        bool accumulate, struct kernel_error *err) {
    (void)stream;
    (void)err;
    double loss = 0, hits = 0;
    for (int64_t n = 0; n < tensor_count(losses); n++) {
        loss += load(losses, n);
        hits += load(correct, n);
    }
    store_sum(control, CONTROL_LOSS, loss * factor, accumulate);
    store_sum(control, CONTROL_ACCURACY, hits * factor, accumulate);
    return true;
}

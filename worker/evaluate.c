#include <math.h>
#include <stdlib.h>

#include "worker/evaluate.h"

bool evaluate_run(struct attempt *a, const struct evaluate_options *options,
        struct evaluation *out, struct text *err) {
    *out = (struct evaluation){0};
    int64_t batch = options->batch;
    int64_t windows = data_windows(options->data, SPLIT_VALID);
    if (options->windows > 0 && options->windows < windows) {
        windows = options->windows;
    }
    int64_t batches = (windows + batch - 1) / batch;
    int64_t rounds = (batches + a->world - 1) / a->world;
    int64_t past_end = data_windows(options->data, SPLIT_VALID);
    size_t elements = (size_t)(batch * params_integer(&a->spec.params, PARAM_SEQ_LEN));
    int32_t *inputs = text_allocate_zeroed(elements, sizeof *inputs);
    int32_t *targets = text_allocate_zeroed(elements, sizeof *targets);
    double sums[3] = {0}; // loss, correct, tokens
    bool done = true;
    for (int64_t b = a->rank; done && b < rounds * a->world; b += a->world) {
        double loss, correct;
        int64_t first = b < batches ? b * batch : past_end;
        sums[2] += (double)data_evaluation_batch(
                options->data, SPLIT_VALID, first, batch, inputs, targets);
        lookout_announce(options->lookout);
        done = engine_evaluate(options->engine, inputs, targets, &loss, &correct, err);
        if (!done) {
            break;
        }
        sums[0] += loss;
        sums[1] += correct;
        if (attempt_is_silent(a)) {
            done = attempt_send(a, "progress", "{s:s, s:I, s:I}", "phase", "eval",
                    "done", (json_int_t)b + 1, "of", (json_int_t)batches);
        }
    }
    // In a sum nobody would know any more whose loss is not finite.
    bool alone = !options->comm || !isfinite(sums[0]);
    done = done && (alone || comm_sum_host(options->comm, sums, 3, err));
    if (done && sums[2] > 0) {
        out->tokens = (int64_t)sums[2];
        out->loss = sums[0] / sums[2];
        out->ppl = exp(out->loss);
        out->accuracy = sums[1] / sums[2];
    }
    free(inputs);
    free(targets);
    return done;
}

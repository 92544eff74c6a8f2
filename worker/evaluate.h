/* Loss, perplexity and accuracy on tokens that the model was not trained on. */
#ifndef WORKER_EVALUATE_H
#define WORKER_EVALUATE_H

#include <stdbool.h>
#include <stdint.h>

#include "worker/attempt.h"
#include "worker/comm.h"
#include "worker/data.h"
#include "worker/engine.h"
#include "worker/lookout.h"

struct evaluation {
    double loss, ppl, accuracy; /* per token */
    int64_t tokens;             /* how many; 0: the split is empty, the rest unset */
};

struct evaluate_options {
    const struct data *data;
    struct engine *engine;
    struct comm *comm;       /* NULL for one rank */
    struct lookout *lookout; /* over the other ranks */
    int64_t batch;           /* rows of the engine's batch */
    int64_t windows;         /* at most so many windows; 0: the whole split */
};

/*
 * Evaluate the validation split, from its beginning: rank r takes batches r, r + world,
 * …, and every rank gets the sum. All take as many, for a wrapper may have to gather
 * weights in each: where none is left, one of padding. Sends a sign of life once a
 * second, and no result. False with a sentence, or with the attempt failed already.
 */
bool evaluate_run(struct attempt *a, const struct evaluate_options *options,
        struct evaluation *out, struct text *err);

#endif

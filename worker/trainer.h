/*
 * What training holds on to between its phases; train.c sets it up and runs it,
 * outcome.c reads the result off it.
 */
#ifndef WORKER_TRAINER_H
#define WORKER_TRAINER_H

#include <stdbool.h>
#include <stdint.h>

#include "worker/attempt.h"
#include "worker/comm.h"
#include "worker/data.h"
#include "worker/engine.h"
#include "worker/evaluate.h"
#include "worker/ring.h"
#include "worker/telemetry.h"

#define TRAINER_INSTRUMENTED 3

/* A step on its way. */
struct sent {
    double lr, ms; /* its learning rate, and when it was begun */
};

struct trainer {
    struct attempt *attempt;
    const struct params *params;
    struct engine_options options;
    struct data *data;
    struct stream *stream;
    struct telemetry_watch watch; /* over the device */
    struct comm *comm;            /* NULL for one rank */
    struct engine *engine;

    int64_t seq_len, accumulate, warmup_steps, steps;
    int64_t step_tokens;       /* of this rank in one step */
    int32_t *inputs, *targets; /* [accumulate, batch, seq_len] */

    struct sent sent[RING_SLOTS]; /* by step, modulo */
    double finished_ms;           /* when the last step finished */

    /* The record so far. */
    double *step_ms; /* [steps − warmup_steps], the timed ones */
    double window_ms, train_ms, startup_ms;
    double first_loss, final_loss;            /* means over ranks */
    int64_t comm_bytes;                       /* moved in all steps */
    bool in_phase;                            /* a range is open for a profiler */
    struct engine_step last;                  /* of the last step */
    struct evaluation evaluation;             /* after the last step */
    double phase_ms[5][TRAINER_INSTRUMENTED]; /* in struct engine_phases' order */
    int instrumented;
};

#endif

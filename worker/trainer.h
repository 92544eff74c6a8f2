/*
 * What training holds on to between its phases: set up and taken down here, run by
 * train.c, its result read off by outcome.c.
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
#include "worker/lookout.h"
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
    struct lookout lookout;       /* over the other ranks */
    struct engine *engine;

    int64_t seq_len, accumulate, warmup_steps, steps;
    struct data_share share;   /* of this rank in every step */
    int64_t step_tokens;       /* of this rank in a whole step */
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

/*
 * `done`, or the attempt failed with the sentence in `err`, which is emptied. Where a
 * fault has made the device useless, that is what happened, whatever failed of it.
 */
bool trainer_check(struct trainer *t, bool done, struct text *err);

/* Begin a phase of the attempt, which a profiler sees as a range. */
bool trainer_enter(struct trainer *t, const char *phase);

/* Tokens that this rank, or all ranks together, train in steps [from, to). */
int64_t trainer_tokens(const struct trainer *t, int64_t from, int64_t to);
int64_t trainer_tokens_of_all(const struct trainer *t, int64_t from, int64_t to);

/* Suffer the cell's fault (parameter `inject`), which is due. */
bool trainer_strike(struct trainer *t);

/*
 * Data, stream, plan, the other ranks, engine: all that the first step needs. Attempt
 * and parameters must be set, all else zero. False, the attempt failed, where something
 * is refused; then nothing is undone, for the process is about to end.
 */
bool trainer_start(struct trainer *t);

/* Give back what a finished attempt held. */
void trainer_finish(struct trainer *t);

#endif

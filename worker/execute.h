/*
 * Runs a program, op by op, through a table of kernels. Nothing here synchronises with
 * the host, but for red zones, which are read back after every op.
 */
#ifndef WORKER_EXECUTE_H
#define WORKER_EXECUTE_H

#include <stdbool.h>

#include "kernels/kernels.h"
#include "matrix/text.h"
#include "worker/comm.h"
#include "worker/program.h"
#include "worker/shape.h"
#include "worker/timeline.h"

struct executor {
    const struct shape *shape; /* and the kernels */
    struct stream *stream;
    struct comm *comm; /* NULL for one rank */
    struct clip_options clip;
    struct adamw_options adamw;
    double weight; /* of losses and gradients; 1 but where a step is not whole */
    void (*alive)(void *user); /* after every op; NULL: nobody wants to know */
    void *user;
};

/*
 * Queue one whole step: forward and backward `micros` times on one staged batch after
 * the other, then what stands behind them once. `timeline` NULL: not instrumented;
 * else phases are marked by their enum, or ops as it says. A profiler sees a range
 * around every op, within one around its phase. False names the op that was refused.
 */
bool execute_step(const struct executor *x, struct program *p, int micros,
        struct timeline *timeline, struct text *err);

#endif

/*
 * What a training step would take on more ranks, from the phases of one that was
 * measured and from what an all-reduce takes. Pure arithmetic, an explicit timeline:
 * `forecast_model` prints it, `forecast_limits` says what it leaves out.
 */
#ifndef REPORTS_FORECAST_H
#define REPORTS_FORECAST_H

#include <stdbool.h>

#include "matrix/text.h"
#include "reports/fabric.h"
#include "reports/layout.h"

/* A step on one rank, its phases scaled so that they add up to it. */
struct forecast_cell {
    double forward_ms, backward_ms, optimizer_ms; /* all micro-steps together */
    double rest_ms;                               /* loading data */
    double grad_bytes, weight_bytes;
    struct layout layout; /* the caller's; the bytes are spread over it evenly */
    int accumulate;       /* micro-steps, 1 or more; only the last one reduces */
    bool strong;          /* ranks share the batch out; else each has one of its own */
    double tokens;        /* of a micro-step, of a rank; strong: of all */
    double row_bytes;     /* what a token's row of activations takes */
    bool torch; /* buckets as torch cuts them; `sharded`: all-reduces, late gathers */
};

struct forecast_wrapper {
    int ddp; /* DDP_NAIVE … DDP_SHARDED */
    double bucket_bytes;
};

struct forecast_step {
    double step_ms; /* the sum of the five below */
    double rest_ms, forward_ms, backward_ms, exposed_ms, optimizer_ms;
    double comm_ms; /* communication, hidden or not */
    double speedup; /* tokens/s over those of one rank */
    double efficiency;
};

/* How ranks are joined, and how much communication slows what computes beside it. */
struct forecast_setting {
    const struct fabric *fabric;
    const struct fabric *beside; /* of reductions beside backward; NULL: as `fabric` */
    enum fabric_algorithm algorithm;
    double slowdown;        /* of backward, beside reductions; 0: not at all */
    double gather_slowdown; /* of forward, beside gathers */
    double undivided;       /* share of the optimizer that `sharded` does not divide */
};

/* All of NAN where the fabric cannot tell. */
struct forecast_step forecast_step(const struct forecast_cell *cell,
        const struct forecast_wrapper *wrapper, const struct forecast_setting *setting,
        int ranks);

/*
 * The slowdown that makes this cell's backward take `backward_ms` on `ranks`; 0 where
 * it takes no longer than alone, NAN where no slowdown explains it or nothing overlaps.
 */
double forecast_fit_slowdown(const struct forecast_cell *cell,
        const struct forecast_wrapper *wrapper, const struct forecast_setting *setting,
        int ranks, double backward_ms);

/* The same of forward beside gathers; NAN where none run beside it. */
double forecast_fit_gather_slowdown(const struct forecast_cell *cell,
        const struct forecast_wrapper *wrapper, const struct forecast_setting *setting,
        int ranks, double forward_ms);

/* Sentences, NULL-terminated: the formulas, and what they do not know. */
extern const char *const forecast_model[];
extern const char *const forecast_limits[];

#endif

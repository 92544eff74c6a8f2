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

/* A step on one rank, its phases scaled so that they add up to it. */
struct forecast_cell {
    double forward_ms, backward_ms, optimizer_ms; /* all micro-steps together */
    double rest_ms;                               /* loading data */
    double grad_bytes, weight_bytes;
    double table_share; /* of them, the token table: backward completes it last */
    bool tied;          /* the head computes with the table, too */
    double tensors; /* parameters, counted as tensors: what `naive` reduces one by one
                     */
    int accumulate; /* micro-steps, 1 or more; only the last one reduces */
    bool strong;    /* ranks share the batch out; else each has one of its own */
    double token_bytes; /* of a rank (strong: of all): what `bucketed` gathers at the
                           end instead of waiting with a tied table; 0: it waits */
    double gather_most; /* ranks up to which it does */
    bool late_gather;   /* `sharded` as torch does it: all-reduces, gathers unhidden */
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
    enum fabric_algorithm algorithm;
    double slowdown; /* 0: not at all */
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

/* Sentences, NULL-terminated: the formulas, and what they do not know. */
extern const char *const forecast_model[];
extern const char *const forecast_limits[];

#endif

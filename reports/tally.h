/*
 * Tallies: what each planned cell came to, over all its attempts. The layer between
 * the results folder and every table: after tallies_init() nothing reads attempts
 * again but the page's lists of them.
 */
#ifndef REPORTS_TALLY_H
#define REPORTS_TALLY_H

#include <stdbool.h>
#include <stddef.h>

#include "matrix/results.h"
#include "reports/context.h"
#include "reports/stats.h"

/*
 * Which attempts count: of the fresh ones (else of the stale ones that are like the
 * newest) the newest `repeats`, leaving out those that were preempted, lost or
 * interrupted where another one was not. The last of them gives the status; where that
 * is ok, every metric is the median over the ok ones.
 */
struct tally {
    const struct cell *cell;           /* in the results' plan */
    const struct result_cell *result;  /* its attempts */
    const struct result_attempt *last; /* the attempt that gives the status, or NULL */
    enum status status;
    char *stale; /* what makes it stale; NULL where it is fresh */
    const struct result_attempt **attempts; /* those that count, ascending; owned */
    size_t counted;                         /* so many */
    size_t ok_count;                        /* of them, those that ended ok */
    double *metrics;  /* metric_count values, NAN unknown; derived ones included */
    struct range tps; /* tokens_per_s with its noise */
    struct stats tps_stats; /* over the repeats */
    struct stats peak_stats;
    char *cause; /* why it is not ok; NULL where it is */
    char *note;  /* what else a reader must know: repeats that failed; NULL for none */

    const struct tally *scaling_base; /* the one-rank cell it is held against */
    const char *scaling;              /* "weak" or "strong"; NULL where none */
    char *scaling_missing;            /* why more ranks have no efficiency; NULL */
    char *mfu_missing;                /* why mfu is empty; NULL where it is not */
};

struct tallies {
    const struct results *results; /* not owned */
    struct tally *items;           /* one per planned cell, in plan order */
    size_t count;
    struct context varies; /* hashed parameters that differ between cells that run */
    const struct tally *baseline; /* the matrix's baseline cell, or NULL … */
    char *baseline_missing; /* … and why speed-ups are empty; NULL where they are not */
    /* The file's baseline, where it did not run and a --set twin stands in; or NULL. */
    const struct tally *baseline_named;
};

void tallies_init(struct tallies *o, const struct results *results);
void tallies_finish(struct tallies *o);

/* A metric by name, NAN where it is unknown. */
double tally_metric(const struct tally *o, const char *name);

/* Ok and fresh: may be compared with others that are. */
bool tally_counts(const struct tally *o);

/* Whether it trains a model, as most metrics are of. */
bool tally_trains(const struct tally *o);

/* Whether some cell that is not excluded has this task. */
bool tallies_have_task(const struct tallies *o, int64_t task);

/* Ended as the matrix says it should: in its `expect`, or unsupported here. */
bool tally_met_expectation(const struct tally *o);

/*
 * Whether the matrix is of timings at all: some cell that runs may end ok. One of
 * nothing but faults asks for neither a quiet machine nor repeats.
 */
bool tallies_are_timings(const struct tallies *o);

/*
 * Whether a difference between two speeds may be drift of the machine from one cell to
 * the next: the steps of a single attempt cannot show that, so both need two.
 */
bool tally_may_drift(const struct tally *a, const struct tally *b);

/* Whether a cell trains another model, or other sequences, than the baseline does. */
bool tally_does_other_work(const struct tallies *all, const struct tally *o);

/* Half the range of the repeats' tokens_per_s, in percent; NAN without repeats. */
double tally_speed_spread_pct(const struct tally *o);

/*
 * Threads of each rank as they came out: on the CPU the parameter's 0 is cores ÷ ranks.
 * 0 where that is not known, or on a GPU.
 */
int64_t tally_threads(const struct tally *o);

/* Whether a CPU ran its ranks with more threads in all than it has cores: they took
 * turns, and their times say nothing of cores of their own. */
bool tally_shares_cores(const struct tally *o);

/* The batch that `batch: max` came to; NAN where the last attempt did not train with
 * it. */
double tally_found_batch(const struct tally *o);

/* Whether its last attempt ran on a GPU: its machine has any, and it was not told to
 * leave them alone. */
bool tally_on_gpu(const struct tally *o);

#endif

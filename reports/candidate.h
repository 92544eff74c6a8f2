/*
 * Candidates: what a reader chooses between. Cells that differ in nothing but the seed,
 * or in nothing at all because two experiments share them, are one candidate, with
 * their mean and range; every other cell is its own. Candidates that do the same work
 * (model, batch, ranks, data, training) by different techniques form a workload, and
 * only within one are they ranked.
 */
#ifndef REPORTS_CANDIDATE_H
#define REPORTS_CANDIDATE_H

#include <stdbool.h>
#include <stddef.h>

#include "reports/tally.h"

struct candidate {
    const struct tally *first; /* in plan order */
    size_t cells;              /* that it sums up */
    size_t seeds;              /* different ones among them */
    size_t attempts;           /* that ended ok */
    struct range tps;
    double peak_bytes;
    struct range ppl; /* over the seeds; low = value = high for one seed */
    struct stats val_loss;
};

struct workload {
    const struct candidate *candidates; /* a run of the list below */
    size_t count;
    /* Winners; NULL where no candidate knows the metric. */
    const struct candidate *fastest, *leanest, *best;
    /* The leanest of those hardly slower than the fastest; NULL unless it differs. */
    const struct candidate *balanced;
};

struct candidates {
    struct candidate *items; /* workload by workload */
    size_t count;
    struct workload *workloads; /* in plan order of their first cell */
    size_t workload_count;
};

/* From the tallies that count and trained something. */
void candidates_init(struct candidates *c, const struct tallies *o);
void candidates_finish(struct candidates *c);

/* Whether `a` cannot be told from `b`. */
typedef bool (*candidate_ties)(const struct candidate *a, const struct candidate *b);
bool candidate_ties_speed(const struct candidate *a, const struct candidate *b);
bool candidate_ties_memory(const struct candidate *a, const struct candidate *b);
bool candidate_ties_quality(const struct candidate *a, const struct candidate *b);

/* How many others tie with `winner`: where any do, nobody wins. */
size_t candidate_count_ties(
        const struct workload *w, const struct candidate *winner, candidate_ties ties);

/* Whether `a` is known to be ahead of `b`, where NULL stands for none. Of two that take
 * the same memory the quicker one is. */
bool candidate_is_faster(const struct candidate *a, const struct candidate *b);
bool candidate_is_leaner(const struct candidate *a, const struct candidate *b);

/* Whether a difference in speed may be drift: it takes two attempts on both sides. */
bool candidate_may_drift(const struct candidate *a, const struct candidate *b);

/* Below these a difference is called a tie; the report prints them. */
#define CANDIDATE_MEMORY_TIE 0.001 /* of the peak */
#define CANDIDATE_QUALITY_TIE 0.01 /* of the perplexity, where one seed ran */
#define CANDIDATE_HARDLY_SLOWER 0.05

#endif

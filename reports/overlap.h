/*
 * Two timelines beside each other: compute, and transfers that run one after another.
 * What a transfer takes is given; while one is under way compute may be slower. Pure
 * arithmetic.
 */
#ifndef REPORTS_OVERLAP_H
#define REPORTS_OVERLAP_H

#include <stddef.h>

struct overlap_transfer {
    double at; /* share of compute, 0 … 1, ascending: done before it becomes ready, or
                  not begun before it is complete */
    double ms;
};

struct overlap {
    double compute_ms; /* compute, slowed where transfers ran beside it */
    double exposed_ms; /* what the whole takes beyond that */
};

/*
 * Transfers that compute produces, as backward does gradients: each starts once its
 * share of compute is done and the transfer before it is. `slowdown`: compute takes
 * 1 + slowdown times as long while a transfer is under way.
 */
struct overlap overlap_produced(double compute_ms, double slowdown,
        const struct overlap_transfer *transfers, size_t count);

/*
 * Transfers that compute needs, as forward does weights: they start with it, one after
 * another, and each must be complete before compute goes on beyond its share.
 */
struct overlap overlap_needed(double compute_ms, double slowdown,
        const struct overlap_transfer *transfers, size_t count);

#endif

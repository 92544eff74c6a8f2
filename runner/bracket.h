/*
 * `batch: max`: which batch to try next, given what earlier ones came to. Pure, so that
 * every course of a search can be tested without a process.
 *
 * An estimate from the plan is tried first, then one a step above it: where the plan is
 * right, two probes are all. Without one the batch doubles from 1 until it fails.
 * Either way bisection ends the search once the largest batch that trains is known to
 * within 1, from 100 on to within 2 %.
 */
#ifndef RUNNER_BRACKET_H
#define RUNNER_BRACKET_H

#include <stdbool.h>
#include <stdint.h>

#define BRACKET_MOST 1048576 /* the largest that parameter `batch` takes */

struct bracket {
    int64_t most;   /* the largest that may be tried */
    int64_t low;    /* the largest that is known to train; 0: none */
    int64_t high;   /* the smallest that is known not to; most + 1: none */
    int64_t hint;   /* an estimate of the largest that trains; 0: none */
    int64_t stride; /* from `low` up or from `high` down, once a hint was tried; or 0 */
};

/* `most` is BRACKET_MOST or less. */
void bracket_init(struct bracket *b, int64_t most);

/* How near to the largest batch a search that ends at `batch` comes. */
int64_t bracket_step(int64_t batch);

/* Take an estimate; one that is known to be wrong is passed over. */
void bracket_hint(struct bracket *b, int64_t batch);

/* The batch to try next; 0 where `low` is the answer. */
int64_t bracket_next(const struct bracket *b);

/* What bracket_next() came to. */
void bracket_learn(struct bracket *b, int64_t batch, bool trains);

#endif

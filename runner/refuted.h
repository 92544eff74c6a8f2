/*
 * `batch: max` where memory is not the same twice: a batch that a probe trained with,
 * but with which the attempt itself ran out of memory, is refuted. The cell gets
 * another attempt, whose search stays below it by a margin that grows with each; all of
 * this follows from the cell's records, so a runner that is killed in between loses
 * nothing.
 */
#ifndef RUNNER_REFUTED_H
#define RUNNER_REFUTED_H

#include <stdbool.h>
#include <stdint.h>

#include "matrix/record.h"

#define REFUTED_TRIES 3 /* attempts more, each after one whose batch was refuted */

/* Of one cell; zeroed before its first record. */
struct refuted {
    int64_t batch; /* the smallest that was refuted; 0: none */
    int times;     /* attempts in a row that ended so, up to the last one */
};

/* Take the cell's next record in order: whether it refutes the batch it was made with.
 */
bool refuted_take(struct refuted *f, const struct record *r);

/* Whether the last attempt, one that refutes, is to be followed by another. */
bool refuted_goes_on(const struct refuted *f);

/* The largest batch that the next search may take; 0: any. */
int64_t refuted_most(const struct refuted *f);

#endif

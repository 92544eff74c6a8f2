/*
 * Scaling series among the cells of a run: those alike but for their number of ranks,
 * or their first GPU, which are held against each other and so belong on the same
 * devices.
 */
#ifndef RUNNER_SERIES_H
#define RUNNER_SERIES_H

#include <stdbool.h>

#include "matrix/cell.h"

/* Whether `all` has another cell of `c`'s matrix that is alike but for ranks, first
 * GPU, wrapper, bucket size and threads, with another number of ranks or first GPU. */
bool series_has(const struct cells *all, const struct cell *c);

#endif

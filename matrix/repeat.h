/*
 * Cells that would repeat an earlier one: they differ from it only in parameters that
 * no worker reads there, such as `bucket_mb` where `ddp` cuts no buckets.
 */
#ifndef MATRIX_REPEAT_H
#define MATRIX_REPEAT_H

#include <stddef.h>

#include "matrix/cell.h"

/*
 * Exclude the repeats among the running ones of an experiment's cells. The reason names
 * what does nothing and the cell that stays, the first; it lives in `arena`. A cell
 * that is like no other stays, whatever it sets.
 */
void repeat_exclude(struct cell *cells, size_t count, struct arena *arena);

#endif

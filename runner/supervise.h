/*
 * The cell supervisor: `runner supervise DIR`. It owns the ranks of one attempt on this
 * node from start to record.json; while they run, runner/watch has them.
 * Single-threaded.
 */
#ifndef RUNNER_SUPERVISE_H
#define RUNNER_SUPERVISE_H

#include <stdbool.h>

#include "matrix/text.h"

/*
 * Run the attempt whose spec.json lies in `folder`. True once its record.json is there,
 * whatever its status; false where there is no usable spec or the record cannot be
 * written. Either way no process it started is left, nor any that those started. The
 * first SIGTERM or SIGINT ends the ranks with grace, the second without; both record
 * `interrupted`. Ranks that ran out of time have that grace as well, silent ones none.
 */
bool supervise_run(const char *folder, struct text *err);

#endif

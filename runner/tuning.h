/*
 * Before the first cell: worker-cuda times the matrix products that this run will need
 * and keeps the fastest in a table, <out>/gemm_algorithms.txt, which every worker then
 * reads. So no cell tunes, and all cells of a results folder use one table.
 */
#ifndef RUNNER_TUNING_H
#define RUNNER_TUNING_H

#include <stdbool.h>

#include "matrix/text.h"
#include "runner/progress.h"
#include "runner/queue.h"
#include "runner/workers.h"

/*
 * Tune for what `q` still has to run on GPUs and name the table to the workers, by
 * $LM_TUNING; where that is set already, the user's choice stands and nothing is timed.
 * False, with a sentence, where the worker could not: cells then run with the library's
 * own choice.
 */
bool tuning_prepare(const struct queue *q, const struct workers *w, const char *out,
        struct progress *progress, struct text *err);

#endif

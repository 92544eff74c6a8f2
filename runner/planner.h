/* The worker's planner: specs in, bytes out, one JSON object a line each way. */
#ifndef RUNNER_PLANNER_H
#define RUNNER_PLANNER_H

#include <jansson.h>
#include <stdbool.h>

#include "matrix/cell.h"
#include "matrix/text.h"
#include "runner/workers.h"

/*
 * Ask `<worker> plan` for the bytes of the `count` cells. `answers` (as many entries,
 * the caller's, who owes json_decref() on each) gets one object per cell: planned_bytes
 * and so on, or `error`. Cells that no worker here serves get an `error` too. False
 * only where a planner cannot be started or talked to.
 */
bool planner_ask(const struct workers *w, const struct cell *const *cells, size_t count,
        json_t **answers, struct text *err);

#endif

/* `worker-cpu plan`: what a cell would take, without taking it. */
#ifndef WORKER_PLANNER_H
#define WORKER_PLANNER_H

#include <jansson.h>
#include <stddef.h>

/*
 * Answer one line of standard input, a spec as in spec.json: an object with `cell` and
 * either planned_bytes and each kind's `…_bytes`, or `error` (one sentence) and
 * `unsupported` (true where the cell asks for what this worker does not serve). New
 * reference.
 */
json_t *planner_answer(const char *line, size_t size);

#endif

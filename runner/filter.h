/* Programs that read specs, one a line, and answer on standard output: the workers'
 * `plan` and `tune`. */
#ifndef RUNNER_FILTER_H
#define RUNNER_FILTER_H

#include <jansson.h>
#include <stdbool.h>

#include "matrix/cell.h"
#include "matrix/text.h"

/* The spec of a cell as an object, which is the caller's. */
json_t *filter_spec(const struct cell *cell, char **worker);

#define FILTER_NO_LIMIT (-1)

/*
 * Run `argv` with `in` as its input, wait for its end, its whole output to `out`. One
 * that has not ended after `limit_ms` is killed, which is a failure.
 */
bool filter_run(char *const *argv, const struct text *in, struct text *out,
        int limit_ms, struct text *err);

#endif

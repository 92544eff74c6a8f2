/*
 * `worker tune TABLE`: choose the algorithms of every matrix product that the cells on
 * standard input will need, before any of them runs.
 */
#ifndef WORKER_TUNER_H
#define WORKER_TUNER_H

#include <stdbool.h>
#include <stdio.h>

#include "matrix/text.h"

/*
 * Read specs from `in`, one a line; time the products that the table at `path` does not
 * know; write it back whole, made anew where there is none. One line of JSON about it
 * to `out`. A cell that cannot be built here is passed over: it says why when it runs.
 */
bool tuner_run(FILE *in, const char *path, FILE *out, struct text *err);

#endif

/* `runner plan`: the cells of a selection, what each is expected to take, and what is
 * excluded and why. Nothing runs and nothing is written. */
#ifndef RUNNER_PLAN_H
#define RUNNER_PLAN_H

#include <stdio.h>

#include "matrix/text.h"
#include "runner/options.h"

/* Print to `out`, totals to `talk`; returns the exit code. */
int plan_command(const struct options *o, FILE *out, FILE *talk, struct text *err);

#endif

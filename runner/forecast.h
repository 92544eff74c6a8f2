/* `runner forecast`: scaling beyond the ranks at hand, from the records alone. */
#ifndef RUNNER_FORECAST_H
#define RUNNER_FORECAST_H

#include <stdio.h>

#include "matrix/text.h"
#include "runner/options.h"

/* 0, or 2 with a sentence where the records give nothing to forecast from. */
int forecast_command(const struct options *o, FILE *out, FILE *talk, struct text *err);

#endif

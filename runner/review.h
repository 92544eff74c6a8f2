/* `runner report`: every table rebuilt from the records alone. */
#ifndef RUNNER_REVIEW_H
#define RUNNER_REVIEW_H

#include <stdio.h>

#include "matrix/text.h"
#include "runner/options.h"

int review_command(const struct options *o, FILE *out, FILE *talk, struct text *err);

#endif

/*
 * `runner clean`: remove results of the selected cells. Without --yes it only shows
 * what would go. A cell that somebody is running is refused.
 */
#ifndef RUNNER_CLEAN_H
#define RUNNER_CLEAN_H

#include <stdio.h>

#include "matrix/text.h"
#include "runner/options.h"

int clean_command(const struct options *o, FILE *out, FILE *talk, struct text *err);

#endif

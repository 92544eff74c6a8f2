/*
 * `runner run` and `runner try`: bring every selected cell to as many fresh attempts as
 * it asks for, then write the reports.
 */
#ifndef RUNNER_RUN_H
#define RUNNER_RUN_H

#include "matrix/text.h"
#include "runner/options.h"

/*
 * The command's exit code (design §5). Sentences about single cells go to stderr as
 * they happen; the one in `err`, where there is one, is why the run could not start or
 * go on.
 */
int run_command(const struct options *o, struct text *err);

#endif

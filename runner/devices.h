/* `runner devices`: what this machine has, and which worker serves it. */
#ifndef RUNNER_DEVICES_H
#define RUNNER_DEVICES_H

#include <stdio.h>

#include "matrix/text.h"
#include "runner/options.h"

int devices_command(const struct options *o, FILE *out, struct text *err);

#endif

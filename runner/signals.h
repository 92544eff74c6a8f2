/*
 * SIGINT, SIGTERM and SIGHUP of the runner, as a descriptor. The first asks running
 * cells to end with grace, the next to end at once.
 */
#ifndef RUNNER_SIGNALS_H
#define RUNNER_SIGNALS_H

#include <stdbool.h>

#include "matrix/text.h"

/*
 * Block them and return a descriptor that polls readable when one came; -1, with a
 * sentence, where that fails. SIGPIPE is ignored from now on: a reader that left is an
 * error code. The caller closes the descriptor.
 */
int signals_open(struct text *err);

/* How many came since the last call; never blocks. */
int signals_take(int fd);

#endif

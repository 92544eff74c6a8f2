/*
 * From a cell's parameters to what the engine is to build: what this build serves, and
 * the sizes that parameters leave open.
 */
#ifndef WORKER_SETUP_H
#define WORKER_SETUP_H

#include <stdbool.h>
#include <stdint.h>

#include "kernels/kernels.h"
#include "matrix/axes.h"
#include "matrix/text.h"
#include "worker/engine.h"

/* CPU cores this process may run on. */
int setup_cores(void);

/*
 * Refuse what this executable does not serve: another task, engine or device, a batch
 * that the runner has still to find, graphs where the device has none, several ranks
 * where they cannot reach each other. The sentence
 * says which.
 */
bool setup_check(const struct params *params, struct text *err);

/*
 * Fill `out` for the cell's engine, but for rank, stream and communicator. `vocab` is
 * the tokenizer's. Fails where parameter `vocab` is smaller. `params` must outlive
 * `out`.
 */
bool setup_options(const struct params *params, int64_t vocab,
        struct engine_options *out, struct text *err);

#endif

/* The learning rate over the steps of a run. */
#ifndef WORKER_SCHEDULE_H
#define WORKER_SCHEDULE_H

#include <stdint.h>

#include "matrix/axes.h"

/*
 * The rate of step `step` (0 …) of `steps`: during the first lr_warmup steps it rises
 * in a line, lr × (step + 1) ÷ (lr_warmup + 1); from there it falls to lr_min, reached
 * at `steps`, by half a cosine (`cosine`) or a line (`linear`), or stays at lr
 * (`constant`). Steps past the last get the last one's.
 */
double schedule_rate(const struct params *params, int64_t step, int64_t steps);

#endif

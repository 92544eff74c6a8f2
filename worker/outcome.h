/* What a finished training run has to say: its memory and its result. */
#ifndef WORKER_OUTCOME_H
#define WORKER_OUTCOME_H

#include <stdbool.h>

#include "worker/trainer.h"

/* One `memory` event for each owner. */
bool outcome_send_memory(struct trainer *t, const struct engine_memory *memory);

/* The `result` event, with every metric that this rank can know. */
bool outcome_send_result(struct trainer *t);

#endif

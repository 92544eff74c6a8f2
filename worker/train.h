/*
 * Task `train`: one rank's run from data to result, in phases.
 *
 *   start       data, plan, communicator, engine
 *   warmup      the first warmup_steps of the run's steps
 *   measure     the others: the timed window, which the device is idle before and
 *               after, which includes data loading and leaves out evaluations
 *   eval        the validation split after the last step (and every eval_every)
 *   instrument  three steps more with events around their parts, after everything that
 *               is reported about time or quality is known: they disturb neither
 *   end         the result
 */
#ifndef WORKER_TRAIN_H
#define WORKER_TRAIN_H

#include <stdbool.h>

#include "worker/attempt.h"

/*
 * Run the cell and send its result. False with the attempt failed; nothing is torn down
 * then, and the caller ends the process: other ranks may wait in the communicator.
 */
bool train_run(struct attempt *a);

#endif

/*
 * The update, as ops at a program's end: norm of the whole gradient, clip and loss
 * scale, AdamW. And the learning rate, which the host decides.
 */
#ifndef WORKER_OPTIMIZER_H
#define WORKER_OPTIMIZER_H

#include <stdint.h>

#include "kernels/kernels.h"
#include "matrix/axes.h"
#include "worker/ddp.h"
#include "worker/parameters.h"
#include "worker/program.h"

#define OPTIMIZER_EPSILON 1e-8f
#define OPTIMIZER_LOSS_SCALE 65536  /* fp16 starts with … */
#define OPTIMIZER_GROWTH_STEPS 2000 /* … and doubles it after this many good steps */

/*
 * The learning rate of step `step` (0 …) of `steps`, as nanoGPT has it: during the
 * first lr_warmup steps lr × (step + 1) ÷ (lr_warmup + 1); then `lr_schedule` from lr
 * down to lr_min at `steps`. Steps past the end have lr_min (constant: lr).
 */
double optimizer_lr(const struct params *params, int64_t step, int64_t steps);

/*
 * Append the update of what the program says is this rank's; gaps between parameters
 * hold zeros and stay so. The norm is that of the whole gradient: where it is spread
 * over ranks, each adds its own partial sums to the others' zeros, which changes no bit
 * of them; else it is taken of the parts that ddp_parts() of `d` tells.
 */
void optimizer_declare(
        struct program *p, const struct parameters *parameters, const struct ddp *d);

struct clip_options optimizer_clip(const struct params *params);
struct adamw_options optimizer_adamw(const struct params *params);

#endif

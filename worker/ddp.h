/*
 * Data-parallel wrappers, as ops added to a program whose backward is declared: how the
 * ranks' gradients are added up.
 *
 * naive     one all-reduce per parameter, after backward
 * flat      one for the whole gradient, after backward
 * bucketed  slices of at least `bucket_mb` of the gradient arena, in backward order,
 * each queued as soon as the last op that writes into it has run
 *
 * Under accumulation only the last micro-step reduces. Every element is summed over the
 * ranks in rank order whatever slice it travels in, so through shared memory the three
 * give the same bits.
 */
#ifndef WORKER_DDP_H
#define WORKER_DDP_H

#include "matrix/axes.h"
#include "worker/parameters.h"
#include "worker/program.h"

/* Nothing is added where `world` is 1. Call before optimizer_declare(). */
void ddp_declare(struct program *p, const struct parameters *parameters,
        const struct params *params, int world);

#endif

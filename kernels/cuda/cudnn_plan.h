/*
 * One pass of attention, ready to run: the first engine that cuDNN's heuristics offer
 * and can build.
 */
#ifndef KERNELS_CUDA_CUDNN_PLAN_H
#define KERNELS_CUDA_CUDNN_PLAN_H

#include "kernels/cuda/cudnn_attention.h"

/* Most workspace a plan may ask for, bytes. */
#define CUDNN_WORKSPACE_MAX ((size_t)8 << 30)

struct cudnn_plan {
    struct cudnn_graph graph;
    cudnn_descriptor executable;  /* owned by the graph */
    size_t workspace;             /* bytes */
    float scalars[OPERAND_COUNT]; /* by identity, those that are scalars */
};

/*
 * Build the plan of `problem` for the device of `handle`, or, where that is NULL, for
 * the one that `device` describes (cuDNN's JSON): such a plan cannot run, but needs no
 * GPU. True: the caller owes a finish. False: KERNEL_UNSUPPORTED with cuDNN's words,
 * nothing to finish.
 */
bool cudnn_plan_init(struct cudnn_plan *p, const struct cudnn_library *lib,
        cudnnHandle_t handle, const char *device, const struct cudnn_problem *problem,
        struct kernel_error *err);
void cudnn_plan_finish(struct cudnn_plan *p); /* zeroed is fine */

/*
 * Queue the pass on the handle's stream. operands[] are device pointers by identity, of
 * those that the pass has; scalars are the plan's own.
 */
bool cudnn_plan_run(struct cudnn_plan *p, cudnnHandle_t handle,
        void *const operands[OPERAND_FIRST_SCALAR], void *workspace,
        struct kernel_error *err);

#endif

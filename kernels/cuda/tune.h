/*
 * Timing the candidates of one matrix product on operands of its own.
 */
#ifndef KERNELS_CUDA_TUNE_H
#define KERNELS_CUDA_TUNE_H

#include "kernels/cuda/product.h"

/*
 * Sets p->algorithm to the fastest candidate by median whose result is the same bit for
 * bit over runs that find different bytes in the workspace and in an output that is to
 * be overwritten; *microseconds is its time. `call` is that of the key; its pointers
 * are ignored. Allocates and frees device memory, and synchronises. `unsupported` where
 * there is no candidate or none repeats.
 */
bool tune_product(struct product *p, cublasLtHandle_t handle, struct stream *stream,
        const struct gemm_call *call, double *microseconds, struct kernel_error *err);

#endif

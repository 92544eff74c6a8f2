/*
 * What the files of kernels/cuda share on the host: the stream, and CUDA's statuses as
 * the project's errors. C and C++ alike.
 */
#ifndef KERNELS_CUDA_CUDA_H
#define KERNELS_CUDA_CUDA_H

#include <cuda_runtime_api.h>

#ifdef __cplusplus
extern "C" {
#endif

#include "kernels/kernels.h"

struct gemm; /* cuBLASLt: handle, table of algorithms; kernels/cuda/gemm.h */

struct stream {
    struct stream_options options; /* `tuning` is not kept */
    cudaStream_t handle;
    int multiprocessors;
    struct gemm *gemm; /* created with the stream */
};

/* Scratch handed to cuBLASLt for one product, bytes; part of every matmul_scratch(). */
#define CUDA_WORKSPACE ((size_t)32 << 20)

/*
 * True where `status` is success. Else fills `err`: "<what>: <CUDA's words>", kind
 * KERNEL_OUT_OF_DEVICE_MEMORY for refused memory (with the bytes free; the caller fills
 * those asked), else KERNEL_DEVICE_FAULT.
 */
bool cuda_done(cudaError_t status, const char *what, struct kernel_error *err);

/* After a launch: true where it was accepted. `what` is the op's name. */
bool cuda_launched(const char *what, struct kernel_error *err);

#ifdef __cplusplus
}
#endif

#endif

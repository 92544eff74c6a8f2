/*
 * One shape of matrix product in cuBLASLt's words: descriptors, candidates, launch.
 * cuBLASLt is column-major, so a row-major out = a · b is asked for as outᵀ = bᵀ · aᵀ:
 * its A is our b, its rows are our columns, and a bias over columns is one over rows.
 */
#ifndef KERNELS_CUDA_PRODUCT_H
#define KERNELS_CUDA_PRODUCT_H

#include <cublasLt.h>

#include "kernels/cuda/algorithms.h"
#include "kernels/cuda/gemm.h"

/* What the library may use of CUDA_WORKSPACE: it wants addresses of whole 256 bytes,
 * and scratch is aligned to 64. */
#define PRODUCT_WORKSPACE (CUDA_WORKSPACE - 256)

enum { PRODUCT_CANDIDATES = 16 };

struct product {
    struct algorithm_key key;
    cublasLtMatmulDesc_t operation;
    cublasLtMatrixLayout_t a, b, out; /* a and b are ours, not the library's */
    cublasLtMatmulAlgo_t algorithm;
    /* No algorithm adds a bias: out is first filled with it, then accumulated into,
     * which rounds once as well. */
    bool bias_before;
};

/* What distinguishes `call`; pointers NULL count as aligned. */
struct algorithm_key product_key(const struct gemm_call *call, enum math math);

/* Descriptors of a key, without an algorithm. On failure nothing is held. */
bool product_init(struct product *p, const struct algorithm_key *key, bool bias_before,
        struct kernel_error *err);
void product_finish(struct product *p); /* zeroed is fine */

/* The library's candidates that the rules of gemm.h allow, its favourite first; none is
 * no failure. */
bool product_candidates(const struct product *p, cublasLtHandle_t handle,
        cublasLtMatmulAlgo_t out[PRODUCT_CANDIDATES], int *count,
        struct kernel_error *err);
/* False where the library or the rules of gemm.h refuse the algorithm for `p`. */
bool product_allows(const struct product *p, cublasLtHandle_t handle,
        const cublasLtMatmulAlgo_t *algorithm);

/* Queue it with p->algorithm; `bias_before` has been seen to. `workspace` as for
 * gemm_run(). */
bool product_launch(const struct product *p, cublasLtHandle_t handle,
        const struct gemm_call *call, void *workspace, cudaStream_t stream,
        struct kernel_error *err);

/* True where `status` is success, else "<what>: <cuBLASLt's words>". */
bool product_done(cublasStatus_t status, const char *what, struct kernel_error *err);

#endif

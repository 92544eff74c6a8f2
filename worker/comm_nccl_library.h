/*
 * NCCL, opened when first asked for: programs start without the library and pay for it
 * only where it is used.
 */
#ifndef WORKER_COMM_NCCL_LIBRARY_H
#define WORKER_COMM_NCCL_LIBRARY_H

#include <cuda_runtime_api.h>
#include <nccl.h>
#include <stdbool.h>

#include "matrix/text.h"

/* The entries that are used, under their names less "nccl". */
struct comm_nccl_library {
    int version; /* 10000 · major + 100 · minor + patch */
    const char *(*error_string)(ncclResult_t);
    const char *(*last_error)(ncclComm_t);
    ncclResult_t (*unique_id)(ncclUniqueId *);
    ncclResult_t (*init_rank)(ncclComm_t *, int, ncclUniqueId, int, ncclConfig_t *);
    ncclResult_t (*destroy)(ncclComm_t);
    ncclResult_t (*async_error)(ncclComm_t, ncclResult_t *);
    ncclResult_t (*all_reduce)(const void *, void *, size_t, ncclDataType_t,
            ncclRedOp_t, ncclComm_t, cudaStream_t);
    ncclResult_t (*reduce_scatter)(const void *, void *, size_t, ncclDataType_t,
            ncclRedOp_t, ncclComm_t, cudaStream_t);
    ncclResult_t (*all_gather)(
            const void *, void *, size_t, ncclDataType_t, ncclComm_t, cudaStream_t);
    /* All or none, from 2.27; a window is opaque, and unknown to older headers. */
    ncclResult_t (*mem_alloc)(void **, size_t);
    ncclResult_t (*mem_free)(void *);
    ncclResult_t (*window_register)(ncclComm_t, void *, size_t, void **, int);
    ncclResult_t (*window_deregister)(ncclComm_t, void *);
};

/* Stays open for the life of the process. NULL where there is none, or it is older than
 * 2.18; the sentence says which. From any thread. */
const struct comm_nccl_library *comm_nccl_library_open(struct text *err);

/* True where `status` is success; else "<what>: <NCCL's words>". */
bool comm_nccl_library_done(const struct comm_nccl_library *lib, ncclResult_t status,
        const char *what, struct text *err);

#endif

/*
 * cuDNN's backend API, opened when first asked for: programs start without the library
 * and pay for it only where it is used.
 */
#ifndef KERNELS_CUDA_CUDNN_LIBRARY_H
#define KERNELS_CUDA_CUDNN_LIBRARY_H

#include <cudnn_graph.h>

#include "kernels/kernels.h"

/* The entries that are used, under their names less "cudnn" and "Backend". */
struct cudnn_library {
    size_t version; /* 91400: 9.14.0 */
    __typeof__(cudnnCreate) *create_handle;
    __typeof__(cudnnDestroy) *destroy_handle;
    __typeof__(cudnnSetStream) *set_stream;
    __typeof__(cudnnGetErrorString) *error_string;
    __typeof__(cudnnGetLastErrorString) *last_error_string;
    __typeof__(cudnnBackendCreateDescriptor) *create;
    __typeof__(cudnnBackendDestroyDescriptor) *destroy;
    __typeof__(cudnnBackendSetAttribute) *set;
    __typeof__(cudnnBackendGetAttribute) *get;
    __typeof__(cudnnBackendFinalize) *finalize;
    __typeof__(cudnnBackendExecute) *execute;
};

/*
 * The library, open for the process's life. NULL, KERNEL_UNSUPPORTED, where it is
 * absent or a version whose attention cannot be trusted. Calls must not overlap.
 */
const struct cudnn_library *cudnn_library_open(struct kernel_error *err);

/* True on success; else `err` gets "<what>: <cuDNN's words>", of kind `kind`. */
bool cudnn_library_done(const struct cudnn_library *lib, cudnnStatus_t status,
        const char *what, enum kernel_failure kind, struct kernel_error *err);

#endif

/*
 * cuDNN's descriptors, made one call each: tensors, and the few operations that
 * attention is composed of, appended to one graph. The first refusal is kept and makes
 * all later calls do nothing, so a graph is written down without a test per line and
 * asked once whether it is good.
 */
#ifndef KERNELS_CUDA_CUDNN_GRAPH_H
#define KERNELS_CUDA_CUDNN_GRAPH_H

#include "kernels/cuda/cudnn_library.h"

#define CUDNN_GRAPH_OPERATIONS 48
#define CUDNN_GRAPH_DESCRIPTORS 256
#define CUDNN_GRAPH_OPERANDS 32

typedef cudnnBackendDescriptor_t cudnn_descriptor;

/* The caller sets `lib` and `err` in a zeroed struct and owes it a finish. */
struct cudnn_graph {
    const struct cudnn_library *lib;
    struct kernel_error *err; /* used until built; the first refusal */
    bool failed;
    int64_t next_virtual; /* identity of the next tensor that is never in memory */
    int operation_count, descriptor_count, operand_count;
    int64_t operands[CUDNN_GRAPH_OPERANDS]; /* uids that the variant pack must give */
    cudnn_descriptor operations[CUDNN_GRAPH_OPERATIONS];
    cudnn_descriptor descriptors[CUDNN_GRAPH_DESCRIPTORS]; /* all; alive until finish */
};

/* Dimensions are batch, heads, rows, columns; strides in elements. */
struct cudnn_layout {
    int64_t size[4], stride[4];
};

/* Sequence lengths that bound a product [m, k] · [k, n], NULL where there are none. */
struct cudnn_bounds {
    cudnn_descriptor m, n, k;
};

/* A new descriptor, owned by the graph; NULL once something was refused. */
cudnn_descriptor cudnn_graph_create(
        struct cudnn_graph *g, cudnnBackendDescriptorType_t type);
void cudnn_graph_set(struct cudnn_graph *g, cudnn_descriptor d,
        cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type,
        int64_t count, const void *values);
bool cudnn_graph_finalize(struct cudnn_graph *g, cudnn_descriptor d, const char *what);

/* In memory under `uid`, aligned to 16 bytes. */
cudnn_descriptor cudnn_graph_tensor(struct cudnn_graph *g, int64_t uid,
        cudnnDataType_t type, const struct cudnn_layout *layout);
/* Between two operations, never in memory. */
cudnn_descriptor cudnn_graph_virtual(
        struct cudnn_graph *g, cudnnDataType_t type, const struct cudnn_layout *layout);
/* An fp32 number that the variant pack holds on the host. */
cudnn_descriptor cudnn_graph_scalar(struct cudnn_graph *g, int64_t uid);

/* y = mode(x, b, t); b and t may be NULL, axis −1 where the mode has none. */
void cudnn_graph_pointwise(struct cudnn_graph *g, cudnnPointwiseMode_t mode,
        cudnnDataType_t math, cudnn_descriptor x, cudnn_descriptor b,
        cudnn_descriptor t, cudnn_descriptor y, int64_t axis);
void cudnn_graph_matmul(struct cudnn_graph *g, cudnn_descriptor a, cudnn_descriptor b,
        cudnn_descriptor c, struct cudnn_bounds bounds);
void cudnn_graph_reduce(struct cudnn_graph *g, cudnnReduceTensorOp_t sum,
        cudnn_descriptor x, cudnn_descriptor y);
void cudnn_graph_reshape(struct cudnn_graph *g, cudnn_descriptor x, cudnn_descriptor y);

void cudnn_graph_finish(struct cudnn_graph *g);

#endif

#include "kernels/cuda/cudnn_graph.h"

#include <assert.h>

// Identities from here on are those of virtual tensors.
enum { FIRST_VIRTUAL = 1000 };

static bool accepted(struct cudnn_graph *g, cudnnStatus_t status, const char *what) {
    g->failed = g->failed ||
                !cudnn_library_done(g->lib, status, what, KERNEL_UNSUPPORTED, g->err);
    return !g->failed;
}

cudnn_descriptor cudnn_graph_create(
        struct cudnn_graph *g, cudnnBackendDescriptorType_t type) {
    cudnn_descriptor d = NULL;
    if (g->failed ||
            !accepted(g, g->lib->create(type, &d), "creating a descriptor of cuDNN")) {
        return NULL;
    }
    assert(g->descriptor_count < CUDNN_GRAPH_DESCRIPTORS);
    g->descriptors[g->descriptor_count++] = d;
    return d;
}

void cudnn_graph_set(struct cudnn_graph *g, cudnn_descriptor d,
        cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type,
        int64_t count, const void *values) {
    if (!g->failed) {
        accepted(g, g->lib->set(d, name, type, count, values),
                "describing attention to cuDNN");
    }
}

bool cudnn_graph_finalize(struct cudnn_graph *g, cudnn_descriptor d, const char *what) {
    return !g->failed && accepted(g, g->lib->finalize(d), what);
}

static void set_descriptor(struct cudnn_graph *g, cudnn_descriptor d,
        cudnnBackendAttributeName_t name, cudnn_descriptor value) {
    cudnn_graph_set(g, d, name, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &value);
}

static void set_type(struct cudnn_graph *g, cudnn_descriptor d,
        cudnnBackendAttributeName_t name, cudnnDataType_t type) {
    cudnn_graph_set(g, d, name, CUDNN_TYPE_DATA_TYPE, 1, &type);
}

/* -- tensors -------------------------------------------------------------------------
 */

static cudnn_descriptor tensor(struct cudnn_graph *g, int64_t uid, cudnnDataType_t type,
        const struct cudnn_layout *layout, int64_t alignment, bool is_virtual,
        bool by_value) {
    cudnn_descriptor d = cudnn_graph_create(g, CUDNN_BACKEND_TENSOR_DESCRIPTOR);
    cudnn_graph_set(g, d, CUDNN_ATTR_TENSOR_UNIQUE_ID, CUDNN_TYPE_INT64, 1, &uid);
    set_type(g, d, CUDNN_ATTR_TENSOR_DATA_TYPE, type);
    cudnn_graph_set(
            g, d, CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT, CUDNN_TYPE_INT64, 1, &alignment);
    cudnn_graph_set(
            g, d, CUDNN_ATTR_TENSOR_DIMENSIONS, CUDNN_TYPE_INT64, 4, layout->size);
    cudnn_graph_set(
            g, d, CUDNN_ATTR_TENSOR_STRIDES, CUDNN_TYPE_INT64, 4, layout->stride);
    cudnn_graph_set(
            g, d, CUDNN_ATTR_TENSOR_IS_VIRTUAL, CUDNN_TYPE_BOOLEAN, 1, &is_virtual);
    cudnn_graph_set(
            g, d, CUDNN_ATTR_TENSOR_IS_BY_VALUE, CUDNN_TYPE_BOOLEAN, 1, &by_value);
    cudnn_graph_finalize(g, d, "describing a tensor to cuDNN");
    return d;
}

static void give(struct cudnn_graph *g, int64_t uid) {
    assert(uid < FIRST_VIRTUAL && g->operand_count < CUDNN_GRAPH_OPERANDS);
    g->operands[g->operand_count++] = uid;
}

cudnn_descriptor cudnn_graph_tensor(struct cudnn_graph *g, int64_t uid,
        cudnnDataType_t type, const struct cudnn_layout *layout) {
    give(g, uid);
    return tensor(g, uid, type, layout, 16, false, false);
}

cudnn_descriptor cudnn_graph_virtual(struct cudnn_graph *g, cudnnDataType_t type,
        const struct cudnn_layout *layout) {
    int64_t uid = FIRST_VIRTUAL + g->next_virtual++;
    return tensor(g, uid, type, layout, 16, true, false);
}

cudnn_descriptor cudnn_graph_scalar(struct cudnn_graph *g, int64_t uid) {
    static const struct cudnn_layout one = {{1, 1, 1, 1}, {1, 1, 1, 1}};
    give(g, uid);
    return tensor(g, uid, CUDNN_DATA_FLOAT, &one, sizeof(float), false, true);
}

/* -- operations ----------------------------------------------------------------------
 */

static void append(struct cudnn_graph *g, cudnn_descriptor operation) {
    cudnn_graph_finalize(g, operation, "describing an operation to cuDNN");
    assert(g->operation_count < CUDNN_GRAPH_OPERATIONS);
    g->operations[g->operation_count++] = operation;
}

void cudnn_graph_pointwise(struct cudnn_graph *g, cudnnPointwiseMode_t mode,
        cudnnDataType_t math, cudnn_descriptor x, cudnn_descriptor b,
        cudnn_descriptor t, cudnn_descriptor y, int64_t axis) {
    cudnn_descriptor how = cudnn_graph_create(g, CUDNN_BACKEND_POINTWISE_DESCRIPTOR);
    cudnn_graph_set(
            g, how, CUDNN_ATTR_POINTWISE_MODE, CUDNN_TYPE_POINTWISE_MODE, 1, &mode);
    set_type(g, how, CUDNN_ATTR_POINTWISE_MATH_PREC, math);
    if (axis >= 0) {
        cudnn_graph_set(g, how, CUDNN_ATTR_POINTWISE_AXIS, CUDNN_TYPE_INT64, 1, &axis);
    }
    cudnn_graph_finalize(g, how, "describing a pointwise step to cuDNN");
    cudnn_descriptor o =
            cudnn_graph_create(g, CUDNN_BACKEND_OPERATION_POINTWISE_DESCRIPTOR);
    set_descriptor(g, o, CUDNN_ATTR_OPERATION_POINTWISE_PW_DESCRIPTOR, how);
    set_descriptor(g, o, CUDNN_ATTR_OPERATION_POINTWISE_XDESC, x);
    if (b) {
        set_descriptor(g, o, CUDNN_ATTR_OPERATION_POINTWISE_BDESC, b);
    }
    if (t) {
        set_descriptor(g, o, CUDNN_ATTR_OPERATION_POINTWISE_TDESC, t);
    }
    set_descriptor(g, o, CUDNN_ATTR_OPERATION_POINTWISE_YDESC, y);
    append(g, o);
}

void cudnn_graph_matmul(struct cudnn_graph *g, cudnn_descriptor a, cudnn_descriptor b,
        cudnn_descriptor c, struct cudnn_bounds bounds) {
    cudnn_descriptor how = cudnn_graph_create(g, CUDNN_BACKEND_MATMUL_DESCRIPTOR);
    set_type(g, how, CUDNN_ATTR_MATMUL_COMP_TYPE, CUDNN_DATA_FLOAT);
    cudnn_graph_finalize(g, how, "describing a product to cuDNN");
    cudnn_descriptor o =
            cudnn_graph_create(g, CUDNN_BACKEND_OPERATION_MATMUL_DESCRIPTOR);
    set_descriptor(g, o, CUDNN_ATTR_OPERATION_MATMUL_ADESC, a);
    set_descriptor(g, o, CUDNN_ATTR_OPERATION_MATMUL_BDESC, b);
    set_descriptor(g, o, CUDNN_ATTR_OPERATION_MATMUL_CDESC, c);
    set_descriptor(g, o, CUDNN_ATTR_OPERATION_MATMUL_DESC, how);
    if (bounds.m) {
        set_descriptor(
                g, o, CUDNN_ATTR_OPERATION_MATMUL_GEMM_M_OVERRIDE_DESC, bounds.m);
    }
    if (bounds.n) {
        set_descriptor(
                g, o, CUDNN_ATTR_OPERATION_MATMUL_GEMM_N_OVERRIDE_DESC, bounds.n);
    }
    if (bounds.k) {
        set_descriptor(
                g, o, CUDNN_ATTR_OPERATION_MATMUL_GEMM_K_OVERRIDE_DESC, bounds.k);
    }
    append(g, o);
}

void cudnn_graph_reduce(struct cudnn_graph *g, cudnnReduceTensorOp_t sum,
        cudnn_descriptor x, cudnn_descriptor y) {
    cudnn_descriptor how = cudnn_graph_create(g, CUDNN_BACKEND_REDUCTION_DESCRIPTOR);
    cudnn_graph_set(g, how, CUDNN_ATTR_REDUCTION_OPERATOR,
            CUDNN_TYPE_REDUCTION_OPERATOR_TYPE, 1, &sum);
    set_type(g, how, CUDNN_ATTR_REDUCTION_COMP_TYPE, CUDNN_DATA_FLOAT);
    cudnn_graph_finalize(g, how, "describing a sum to cuDNN");
    cudnn_descriptor o =
            cudnn_graph_create(g, CUDNN_BACKEND_OPERATION_REDUCTION_DESCRIPTOR);
    set_descriptor(g, o, CUDNN_ATTR_OPERATION_REDUCTION_DESC, how);
    set_descriptor(g, o, CUDNN_ATTR_OPERATION_REDUCTION_XDESC, x);
    set_descriptor(g, o, CUDNN_ATTR_OPERATION_REDUCTION_YDESC, y);
    append(g, o);
}

void cudnn_graph_reshape(
        struct cudnn_graph *g, cudnn_descriptor x, cudnn_descriptor y) {
    cudnn_descriptor o =
            cudnn_graph_create(g, CUDNN_BACKEND_OPERATION_RESHAPE_DESCRIPTOR);
    set_descriptor(g, o, CUDNN_ATTR_OPERATION_RESHAPE_XDESC, x);
    set_descriptor(g, o, CUDNN_ATTR_OPERATION_RESHAPE_YDESC, y);
    append(g, o);
}

void cudnn_graph_finish(struct cudnn_graph *g) {
    while (g->descriptor_count) {
        (void)g->lib->destroy(g->descriptors[--g->descriptor_count]);
    }
}

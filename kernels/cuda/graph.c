/*
 * Graphs: a stream's work captured, its small fills made kernels, and replayed.
 */
#include <stdlib.h>

#include "kernels/cuda/device.h"
#include "kernels/cuda/fill.h"

/*
 * cuBLASLt's and cuDNN's persistent kernels come with a counter each, which a fill of 4
 * bytes clears. As a node of its own kind it costs 2.5 µs on an H100, and 4.6 µs in a
 * graph with branches, as a kernel 0.8 µs in either.
 */
#define SMALL_FILL_BYTES 256

struct graph {
    cudaGraphExec_t handle;
};

/* -- nodes ---------------------------------------------------------------------------
 */

/* Edges are of kinds, from 12.3 on; those of a fill are plain. From 13.0 on there is a
 * place for the others, which we leave empty. */
#if CUDART_VERSION >= 13000
#define PLAIN_EDGES NULL,
#else
#define PLAIN_EDGES
#endif

struct nodes {
    cudaGraphNode_t *items; /* owned */
    size_t count;
    bool unknown; /* an edge to one of them is not plain */
};

static bool is_of_other_kinds(cudaError_t status) {
#if CUDART_VERSION >= 12030
    return status == cudaErrorLossyQuery;
#else
    (void)status;
    return false;
#endif
}

/* Asks for the nodes that `of` has; their number alone where `out` is NULL. */
typedef cudaError_t (*nodes_of)(void *of, cudaGraphNode_t *out, size_t *count);

static cudaError_t all_in(void *graph, cudaGraphNode_t *out, size_t *count) {
    return cudaGraphGetNodes(graph, out, count);
}

static cudaError_t before(void *node, cudaGraphNode_t *out, size_t *count) {
    return cudaGraphNodeGetDependencies(node, out, PLAIN_EDGES count);
}

static cudaError_t behind(void *node, cudaGraphNode_t *out, size_t *count) {
    return cudaGraphNodeGetDependentNodes(node, out, PLAIN_EDGES count);
}

static bool find_nodes(
        nodes_of ask, void *of, struct nodes *out, struct kernel_error *err) {
    cudaError_t status = ask(of, NULL, &out->count);
    if (status == cudaSuccess && out->count > 0) {
        out->items = calloc(out->count, sizeof *out->items);
        if (!out->items) {
            return kernel_fail(
                    err, KERNEL_OUT_OF_MEMORY, "no memory for a graph's nodes");
        }
        status = ask(of, out->items, &out->count);
    }
    out->unknown = is_of_other_kinds(status);
    if (out->unknown) {
        (void)cudaGetLastError(); // not sticky: the next call starts clean
    }
    return out->unknown || cuda_done(status, "finding nodes of a graph", err);
}

/* -- small fills ---------------------------------------------------------------------
 */

/* Whether it is one, and then its parameters. */
static bool find_small_fill(cudaGraphNode_t node, bool *is,
        struct cudaMemsetParams *out, struct kernel_error *err) {
    enum cudaGraphNodeType type;
    *is = false;
    if (cudaGraphNodeGetType(node, &type) != cudaSuccess) {
        (void)cudaGetLastError(); // NCCL's can be of types that only the driver knows
        return true;
    }
    if (type != cudaGraphNodeTypeMemset) {
        return true;
    }
    if (!cuda_done(cudaGraphMemsetNodeGetParams(node, out), "asking for a fill", err)) {
        return false;
    }
    *is = out->height == 1 && out->width * out->elementSize <= SMALL_FILL_BYTES;
    return true;
}

static bool add_kernel(cudaGraph_t graph, const struct nodes *before,
        struct cudaMemsetParams *fill, cudaGraphNode_t *out, struct kernel_error *err) {
    int count = (int)fill->width, size = (int)fill->elementSize;
    void *arguments[] = {&fill->dst, &fill->value, &size, &count};
    struct cudaKernelNodeParams kernel = {.func = fill_small_kernel(),
            .gridDim = {1, 1, 1},
            .blockDim = {FILL_SMALL_THREADS, 1, 1},
            .kernelParams = arguments};
    return cuda_done(
            cudaGraphAddKernelNode(out, graph, before->items, before->count, &kernel),
            "adding a kernel to a graph", err);
}

/* A kernel takes the place of `node`, between `from` and `to`. */
static bool replace(cudaGraph_t graph, cudaGraphNode_t node, const struct nodes *from,
        const struct nodes *to, struct cudaMemsetParams *fill,
        struct kernel_error *err) {
    cudaGraphNode_t kernel;
    if (!add_kernel(graph, from, fill, &kernel, err)) {
        return false;
    }
    for (size_t i = 0; i < to->count; i++) {
        if (!cuda_done(cudaGraphAddDependencies(
                               graph, &kernel, to->items + i, PLAIN_EDGES 1),
                    "ordering a graph", err)) {
            return false;
        }
    }
    return cuda_done(cudaGraphDestroyNode(node), "removing a node", err);
}

/* Replace a node that fills, unless an edge of it is not plain. */
static bool make_kernel(cudaGraph_t graph, cudaGraphNode_t node,
        struct cudaMemsetParams *fill, struct kernel_error *err) {
    struct nodes from = {0}, to = {0};
    bool good =
            find_nodes(before, node, &from, err) &&
            find_nodes(behind, node, &to, err) &&
            (from.unknown || to.unknown || replace(graph, node, &from, &to, fill, err));
    free(from.items);
    free(to.items);
    return good;
}

static bool make_kernels(cudaGraph_t graph, struct kernel_error *err) {
    struct nodes nodes = {0};
    bool good = find_nodes(all_in, graph, &nodes, err);
    for (size_t i = 0; good && i < nodes.count; i++) {
        bool is;
        struct cudaMemsetParams fill;
        good = find_small_fill(nodes.items[i], &is, &fill, err) &&
               (!is || make_kernel(graph, nodes.items[i], &fill, err));
    }
    free(nodes.items);
    return good;
}

/* -- the table's entries -------------------------------------------------------------
 */

bool cuda_graph_begin(struct stream *s, struct kernel_error *err) {
    // Thread-local: whatever other threads do stays out of it.
    return cuda_done(
            cudaStreamBeginCapture(s->handle, cudaStreamCaptureModeThreadLocal),
            "beginning a graph", err);
}

bool cuda_graph_end(struct stream *s, struct graph **out, struct kernel_error *err) {
    cudaGraph_t captured = NULL;
    *out = NULL;
    if (!cuda_done(cudaStreamEndCapture(s->handle, &captured), "ending a graph", err)) {
        return false;
    }
    struct graph *graph = calloc(1, sizeof *graph);
    if (!graph) {
        kernel_fail(err, KERNEL_OUT_OF_MEMORY, "no memory for a graph");
    }
    bool good = graph && make_kernels(captured, err) &&
                cuda_done(cudaGraphInstantiate(&graph->handle, captured, 0),
                        "instantiating a graph", err);
    (void)cudaGraphDestroy(captured);
    if (!good) {
        free(graph);
        return false;
    }
    *out = graph;
    return true;
}

bool cuda_graph_launch(
        struct stream *s, struct graph *graph, struct kernel_error *err) {
    return cuda_done(
            cudaGraphLaunch(graph->handle, s->handle), "launching a graph", err);
}

void cuda_graph_destroy(struct graph *graph) {
    if (graph) {
        (void)cudaGraphExecDestroy(graph->handle);
        free(graph);
    }
}

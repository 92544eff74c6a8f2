#include "kernels/cuda/cudnn_plan.h"

#include <assert.h>
#include <float.h>
#include <math.h>
#include <string.h>

enum { CONFIGS = 16 };

// What the search for an engine needs.
struct search {
    struct cudnn_plan *plan;
    cudnnHandle_t handle;
    cudnn_descriptor device;     // instead of a handle
    cudnn_descriptor operations; // the graph
    bool deterministic;
    struct kernel_error last; // why the latest engine would not do
};

static void set_one(struct cudnn_graph *g, cudnn_descriptor d,
        cudnnBackendAttributeName_t name, cudnn_descriptor value) {
    cudnn_graph_set(g, d, name, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &value);
}

static void fill_scalars(struct cudnn_plan *p, const struct attention_shape *s) {
    // Before 9.10 softmax wanted a number outside its masks.
    float outside = p->graph.lib->version < 91000 ? -FLT_MAX : -INFINITY;
    p->scalars[OPERAND_SCALE] = 1 / sqrtf((float)s->head_dim);
    p->scalars[OPERAND_ONE] = 1;
    p->scalars[OPERAND_WINDOW] = (float)s->window;
    p->scalars[OPERAND_OUTSIDE_CAUSE] = outside;
    p->scalars[OPERAND_OUTSIDE_WINDOW] = outside;
    p->scalars[OPERAND_OUTSIDE_LENGTH] = outside;
}

/* -- choosing an engine --------------------------------------------------------------
 */

static bool repeats(struct search *s, cudnn_descriptor config) {
    const struct cudnn_library *lib = s->plan->graph.lib;
    cudnn_descriptor engine =
            cudnn_graph_create(&s->plan->graph, CUDNN_BACKEND_ENGINE_DESCRIPTOR);
    cudnnBackendNumericalNote_t notes[CUDNN_NUMERICAL_NOTE_TYPE_COUNT];
    int64_t count = 0;
    if (!engine ||
            !cudnn_library_done(lib,
                    lib->get(config, CUDNN_ATTR_ENGINECFG_ENGINE,
                            CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &count, &engine),
                    "asking for an engine", KERNEL_UNSUPPORTED, &s->last) ||
            !cudnn_library_done(lib,
                    lib->get(engine, CUDNN_ATTR_ENGINE_NUMERICAL_NOTE,
                            CUDNN_TYPE_NUMERICAL_NOTE, CUDNN_NUMERICAL_NOTE_TYPE_COUNT,
                            &count, notes),
                    "asking whether an engine repeats", KERNEL_UNSUPPORTED, &s->last)) {
        return false;
    }
    for (int64_t i = 0; i < count; i++) {
        if (notes[i] == CUDNN_NUMERICAL_NOTE_NONDETERMINISTIC) {
            return kernel_fail(&s->last, KERNEL_UNSUPPORTED,
                    "cuDNN offers only engines that do not repeat bit for bit");
        }
    }
    return true;
}

// Build one configuration; false leaves the reason in s->last.
static bool try_config(struct search *s, cudnn_descriptor config) {
    struct cudnn_plan *p = s->plan;
    struct cudnn_graph *g = &p->graph;
    const struct cudnn_library *lib = g->lib;
    if (s->deterministic && !repeats(s, config)) {
        return false;
    }
    cudnn_descriptor d = cudnn_graph_create(g, CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR);
    set_one(g, d, CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG, config);
    if (s->handle) {
        cudnn_graph_set(g, d, CUDNN_ATTR_EXECUTION_PLAN_HANDLE, CUDNN_TYPE_HANDLE, 1,
                &s->handle);
    } else {
        set_one(g, d, CUDNN_ATTR_EXECUTION_PLAN_DEVICEPROP, s->device);
    }
    int64_t bytes = 0, count = 0;
    if (g->failed ||
            !cudnn_library_done(lib, lib->finalize(d), "building attention with cuDNN",
                    KERNEL_UNSUPPORTED, &s->last) ||
            !cudnn_library_done(lib,
                    lib->get(d, CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE,
                            CUDNN_TYPE_INT64, 1, &count, &bytes),
                    "asking cuDNN for a workspace's size", KERNEL_UNSUPPORTED,
                    &s->last)) {
        return false;
    }
    if (bytes < 0 || (size_t)bytes > CUDNN_WORKSPACE_MAX) {
        return kernel_fail(&s->last, KERNEL_UNSUPPORTED,
                "cuDNN asks for a workspace of %.1f GiB, more than %zu GiB%s",
                (double)bytes / (1 << 30), CUDNN_WORKSPACE_MAX >> 30,
                s->deterministic ? ", to be deterministic" : "");
    }
    p->executable = d;
    p->workspace = (size_t)bytes;
    return true;
}

static bool try_mode(struct search *s, cudnnBackendHeurMode_t mode) {
    struct cudnn_graph *g = &s->plan->graph;
    const struct cudnn_library *lib = g->lib;
    cudnn_descriptor d = cudnn_graph_create(g, CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR);
    set_one(g, d, CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH, s->operations);
    cudnn_graph_set(g, d, CUDNN_ATTR_ENGINEHEUR_MODE, CUDNN_TYPE_HEUR_MODE, 1, &mode);
    if (s->device) {
        set_one(g, d, CUDNN_ATTR_ENGINEHEUR_DEVICEPROP, s->device);
    }
    cudnn_descriptor configs[CONFIGS];
    for (int i = 0; i < CONFIGS; i++) {
        configs[i] = cudnn_graph_create(g, CUDNN_BACKEND_ENGINECFG_DESCRIPTOR);
    }
    int64_t count = 0;
    if (g->failed ||
            !cudnn_library_done(lib, lib->finalize(d), "asking cuDNN for engines",
                    KERNEL_UNSUPPORTED, &s->last) ||
            !cudnn_library_done(lib,
                    lib->get(d, CUDNN_ATTR_ENGINEHEUR_RESULTS,
                            CUDNN_TYPE_BACKEND_DESCRIPTOR, CONFIGS, &count, configs),
                    "asking cuDNN for engines", KERNEL_UNSUPPORTED, &s->last)) {
        return false;
    }
    for (int64_t i = 0; i < count && i < CONFIGS; i++) {
        if (try_config(s, configs[i])) {
            return true;
        }
    }
    return false;
}

/* -- life ----------------------------------------------------------------------------
 */

static cudnn_descriptor open_device(struct cudnn_graph *g, const char *device) {
    cudnn_descriptor d = cudnn_graph_create(g, CUDNN_BACKEND_DEVICEPROP_DESCRIPTOR);
    cudnn_graph_set(g, d, CUDNN_ATTR_DEVICEPROP_JSON_REPRESENTATION, CUDNN_TYPE_CHAR,
            (int64_t)strlen(device), device);
    cudnn_graph_finalize(g, d, "describing a device to cuDNN");
    return d;
}

static bool open_operations(struct search *s) {
    struct cudnn_graph *g = &s->plan->graph;
    cudnn_descriptor d = cudnn_graph_create(g, CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR);
    cudnn_graph_set(g, d, CUDNN_ATTR_OPERATIONGRAPH_OPS, CUDNN_TYPE_BACKEND_DESCRIPTOR,
            g->operation_count, g->operations);
    if (s->handle) {
        cudnn_graph_set(g, d, CUDNN_ATTR_OPERATIONGRAPH_HANDLE, CUDNN_TYPE_HANDLE, 1,
                &s->handle);
    }
    s->operations = d;
    return cudnn_graph_finalize(g, d, "composing attention for cuDNN");
}

bool cudnn_plan_init(struct cudnn_plan *p, const struct cudnn_library *lib,
        cudnnHandle_t handle, const char *device, const struct cudnn_problem *problem,
        struct kernel_error *err) {
    *p = (struct cudnn_plan){.graph = {.lib = lib, .err = err}};
    struct search s = {.plan = p,
            .handle = handle,
            .deterministic = problem->shape.deterministic,
            .last = {.kind = KERNEL_UNSUPPORTED,
                    .sentence = "cuDNN offers no engine for this shape"}};
    fill_scalars(p, &problem->shape);
    if (!handle) {
        s.device = open_device(&p->graph, device);
    }
    cudnn_attention_describe(&p->graph, problem);
    if (open_operations(&s)) {
        if (try_mode(&s, CUDNN_HEUR_MODE_A) || try_mode(&s, CUDNN_HEUR_MODE_FALLBACK)) {
            p->graph.err = NULL;
            return true;
        }
        if (!p->graph.failed) {
            *err = s.last;
        }
    }
    cudnn_plan_finish(p);
    return false;
}

void cudnn_plan_finish(struct cudnn_plan *p) {
    cudnn_graph_finish(&p->graph);
    *p = (struct cudnn_plan){0};
}

/* -- running -------------------------------------------------------------------------
 */

static bool fill_pack(struct cudnn_plan *p, cudnn_descriptor pack,
        void *const operands[], void *workspace, struct kernel_error *err) {
    const struct cudnn_library *lib = p->graph.lib;
    int64_t count = p->graph.operand_count;
    const void *pointers[CUDNN_GRAPH_OPERANDS];
    for (int64_t i = 0; i < count; i++) {
        int64_t uid = p->graph.operands[i];
        pointers[i] = uid < OPERAND_FIRST_SCALAR ? operands[uid] : &p->scalars[uid];
        assert(pointers[i]);
    }
    cudnnStatus_t status = lib->set(pack, CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS,
            CUDNN_TYPE_INT64, count, p->graph.operands);
    if (status == CUDNN_STATUS_SUCCESS) {
        status = lib->set(pack, CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS,
                CUDNN_TYPE_VOID_PTR, count, pointers);
    }
    if (status == CUDNN_STATUS_SUCCESS) {
        status = lib->set(pack, CUDNN_ATTR_VARIANT_PACK_WORKSPACE, CUDNN_TYPE_VOID_PTR,
                1, &workspace);
    }
    if (status == CUDNN_STATUS_SUCCESS) {
        status = lib->finalize(pack);
    }
    return cudnn_library_done(
            lib, status, "handing operands to cuDNN", KERNEL_DEVICE_FAULT, err);
}

bool cudnn_plan_run(struct cudnn_plan *p, cudnnHandle_t handle,
        void *const operands[OPERAND_FIRST_SCALAR], void *workspace,
        struct kernel_error *err) {
    const struct cudnn_library *lib = p->graph.lib;
    cudnn_descriptor pack = NULL;
    if (!cudnn_library_done(lib,
                lib->create(CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR, &pack),
                "handing operands to cuDNN", KERNEL_DEVICE_FAULT, err)) {
        return false;
    }
    bool good = fill_pack(p, pack, operands, workspace, err) &&
                cudnn_library_done(lib, lib->execute(handle, p->executable, pack),
                        "running attention with cuDNN", KERNEL_DEVICE_FAULT, err);
    (void)lib->destroy(pack);
    return good;
}

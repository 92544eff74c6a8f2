#include "worker/engine_state.h"

#include <sched.h>
#include <stdlib.h>

#include "worker/ddp.h"
#include "worker/model.h"
#include "worker/optimizer.h"

int engine_threads(const struct params *params, int world) {
    int64_t threads = params_integer(params, PARAM_THREADS);
    if (threads > 0) {
        return (int)threads;
    }
    cpu_set_t cores;
    CPU_ZERO(&cores);
    int count = sched_getaffinity(0, sizeof cores, &cores) ? 1 : CPU_COUNT(&cores);
    return count / world > 1 ? count / world : 1;
}

static int64_t red_zone_of(const struct engine_options *options) {
#ifdef NDEBUG
    bool wanted = options->red_zones;
#else
    bool wanted = true;
#endif
    // They are read back after every op, which no graph can do.
    bool graphed = params_integer(options->params, PARAM_GRAPH) == GRAPH_ON;
    return wanted && !graphed ? MEMORY_RED_ZONE : 0;
}

static void plan_programs(struct engine *e) {
    struct memory_plan training, evaluation;
    memory_plan(&e->training, red_zone_of(&e->options), &training);
    memory_plan(&e->evaluation, red_zone_of(&e->options), &evaluation);
    for (int i = 0; i < OWNER_COUNT; i++) {
        int64_t a = training.bytes[i], b = evaluation.bytes[i];
        e->planned[i] = a > b ? a : b;
    }
    e->forward_bytes = training.forward_bytes;
    e->backward_bytes = training.backward_bytes;
}

/* What takes part in communication comes from the communicator, which reaches it best
 * there, or only there. */
static void find_shared(struct engine *e, const struct program *p) {
    for (int i = 0; i < p->op_count; i++) {
        const struct op *op = &p->ops[i];
        const int *id = op->operands.id;
        if (op_communicates(op->kind)) {
            e->shared[p->tensors[id[0]].owner] = true;
        }
        // From elsewhere a gather would do, but NCCL then takes memory for another way.
        if (op->kind == OP_ALL_GATHER && id[1] != ABSENT) {
            e->shared[p->tensors[id[1]].owner] = true;
        }
    }
}

bool engine_build(struct engine *e, const struct engine_options *options,
        bool *unsupported, struct text *err) {
    e->options = *options;
    e->params = *options->params;
    e->options.params = &e->params;
    *unsupported = false;
    if (options->batch < 1 || options->vocab < 1 || options->world < 1) {
        return text_fail(err, "an engine needs a batch, a vocabulary and a rank");
    }
    if (!shape_init(&e->shape, &e->options, unsupported, err)) {
        return false;
    }
    parameters_init(&e->parameters, &e->params, options->vocab,
            options->kernels->vocab_multiple);
    ddp_init(&e->ddp, &e->shape, &e->parameters, &e->params, options->rank);
    program_init(&e->training);
    model_declare_training(&e->shape, &e->parameters, &e->training);
    ddp_declare(&e->ddp, &e->shape, &e->parameters, &e->training);
    ddp_declare_gather(&e->ddp, &e->parameters, &e->training);
    optimizer_declare(&e->training, &e->parameters, &e->ddp);
    program_init(&e->evaluation);
    model_declare_evaluation(&e->shape, &e->parameters, &e->evaluation);
    ddp_declare_gather(&e->ddp, &e->parameters, &e->evaluation);
    plan_programs(e);
    find_shared(e, &e->training);
    find_shared(e, &e->evaluation);
    return program_check(&e->training, err) && program_check(&e->evaluation, err);
}

void engine_unbuild(struct engine *e) {
    program_finish(&e->evaluation);
    program_finish(&e->training);
    ddp_finish(&e->ddp);
    parameters_finish(&e->parameters);
}

bool engine_plan(const struct engine_options *options, struct engine_memory *out,
        bool *unsupported, struct text *err) {
    struct engine *e = text_allocate_zeroed(1, sizeof *e);
    bool good = engine_build(e, options, unsupported, err);
    if (good) {
        *out = (struct engine_memory){
                .forward_bytes = e->forward_bytes, .backward_bytes = e->backward_bytes};
        for (int i = 0; i < OWNER_COUNT; i++) {
            out->planned[i] = e->planned[i];
            out->measured[i] = -1;
        }
    }
    engine_unbuild(e);
    free(e);
    return good;
}

/* -- tuning --------------------------------------------------------------------------
 */

/* The product that `op` is, by what it reads. */
static struct matmul_problem problem_of(const struct program *p, const struct op *op) {
    const struct tensor *t[OPERANDS_MAX];
    for (int k = 0; k < OPERANDS_MAX; k++) {
        t[k] = &p->tensors[op->operands.id[k]].tensor;
    }
    struct matmul_problem out = {.accumulate = op->accumulate == ACCUMULATE};
    if (op->kind == OP_MATMUL_BACKWARD_WEIGHT) {
        out.kind = MATMUL_BACKWARD_WEIGHT;
        out.m = t[4]->size[0], out.n = t[0]->size[0], out.k = t[0]->size[1];
        out.type = t[4]->type, out.grad = t[0]->type;
        out.bias = op->operands.id[1] != ABSENT;
        return out;
    }
    bool forward = op->kind == OP_MATMUL_FORWARD;
    const struct tensor *weight = t[3], *rows = t[2];
    out.kind = forward ? MATMUL_FORWARD : MATMUL_BACKWARD_INPUT;
    out.m = rows->size[0], out.n = weight->size[0], out.k = weight->size[1];
    out.type = out.grad = rows->type;
    out.bias = forward && op->operands.id[4] != ABSENT;
    return out;
}

static bool is_product(enum op_kind kind) {
    return kind == OP_MATMUL_FORWARD || kind == OP_MATMUL_BACKWARD_INPUT ||
           kind == OP_MATMUL_BACKWARD_WEIGHT;
}

static bool tune_program(const struct engine_options *o, const struct program *p,
        int64_t *products, struct kernel_error *why) {
    for (int i = 0; i < p->op_count; i++) {
        const struct op *op = &p->ops[i];
        if (!is_product(op->kind)) {
            continue;
        }
        struct matmul_problem problem = problem_of(p, op);
        bool both = op->accumulate == ACCUMULATE_AFTER_FIRST &&
                    params_integer(o->params, PARAM_ACCUMULATE) > 1;
        if (!o->kernels->matmul_tune(o->stream, &problem, why)) {
            return false;
        }
        problem.accumulate = true;
        if (both && !o->kernels->matmul_tune(o->stream, &problem, why)) {
            return false;
        }
        *products += both ? 2 : 1;
    }
    return true;
}

bool engine_tune(const struct engine_options *options, int64_t *products,
        bool *unsupported, struct text *err) {
    struct engine *e = text_allocate_zeroed(1, sizeof *e);
    struct kernel_error why = {0};
    bool good = engine_build(e, options, unsupported, err);
    if (good && options->kernels->matmul_tune &&
            (!tune_program(&e->options, &e->training, products, &why) ||
                    !tune_program(&e->options, &e->evaluation, products, &why))) {
        good = text_fail(err, "cannot time a product: %s", why.sentence);
    }
    engine_unbuild(e);
    free(e);
    return good;
}

bool engine_comm_needs(const struct engine_options *options, size_t *bytes,
        enum comm_share *share, struct text *err) {
    struct engine *e = text_allocate_zeroed(1, sizeof *e);
    bool unsupported, good = engine_build(e, options, &unsupported, err);
    *bytes = 0;
    for (int o = 0; good && o < OWNER_COUNT; o++) {
        *bytes += e->shared[o] ? memory_arena_bytes(e->planned[o], options->poison) : 0;
    }
    *share = ddp_share(&e->ddp);
    engine_unbuild(e);
    free(e);
    return good;
}

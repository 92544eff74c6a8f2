#include "worker/engine.h"

#include <sched.h>
#include <stdlib.h>
#include <string.h>

#include "worker/ddp.h"
#include "worker/execute.h"
#include "worker/model.h"
#include "worker/optimizer.h"
#include "worker/program.h"
#include "worker/ring.h"
#include "worker/shape.h"
#include "worker/timeline.h"
#include "worker/values.h"

/* The control block's last element is the engine's own: the scale the step ran with. */
#define CONTROL_STEP_SCALE (CONTROL_COUNT - 1)

/* Phases of a timeline: the program's, and the batch's copy. */
enum { PHASE_DATA = PHASE_OPTIMIZER + 1, PHASE_END, PHASE_TIMES };

struct engine {
    struct engine_options options;
    struct params params;
    struct shape shape;
    struct parameters parameters;
    struct program training, evaluation;
    int64_t planned[OWNER_COUNT];
    int64_t forward_bytes, backward_bytes;
    struct memory memory;
    struct executor executor;
    struct ring ring;
    bool graphed;        /* steps run as one graph … */
    struct graph *graph; /* … captured by the second; NULL before */
};

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

/* -- plan ----------------------------------------------------------------------------
 */

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

/* All but memory. On failure `e` needs finish_programs() all the same. */
static bool build(struct engine *e, const struct engine_options *options,
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
    program_init(&e->training);
    model_declare_training(&e->shape, &e->parameters, &e->training);
    ddp_declare(&e->training, &e->parameters, &e->params, options->world);
    optimizer_declare(&e->training, &e->parameters, &e->params);
    program_init(&e->evaluation);
    model_declare_evaluation(&e->shape, &e->parameters, &e->evaluation);
    plan_programs(e);
    return program_check(&e->training, err) && program_check(&e->evaluation, err);
}

static void finish_programs(struct engine *e) {
    program_finish(&e->evaluation);
    program_finish(&e->training);
    parameters_finish(&e->parameters);
}

bool engine_plan(const struct engine_options *options, struct engine_memory *out,
        bool *unsupported, struct text *err) {
    struct engine *e = text_allocate_zeroed(1, sizeof *e);
    bool good = build(e, options, unsupported, err);
    if (good) {
        *out = (struct engine_memory){
                .forward_bytes = e->forward_bytes, .backward_bytes = e->backward_bytes};
        for (int i = 0; i < OWNER_COUNT; i++) {
            out->planned[i] = e->planned[i];
            out->measured[i] = -1;
        }
    }
    finish_programs(e);
    free(e);
    return good;
}

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
    bool good = build(e, options, unsupported, err);
    if (good && options->kernels->matmul_tune &&
            (!tune_program(&e->options, &e->training, products, &why) ||
                    !tune_program(&e->options, &e->evaluation, products, &why))) {
        good = text_fail(err, "cannot time a product: %s", why.sentence);
    }
    finish_programs(e);
    free(e);
    return good;
}

bool engine_comm_bytes(
        const struct engine_options *options, size_t *bytes, struct text *err) {
    struct engine_memory plan;
    bool unsupported;
    if (!engine_plan(options, &plan, &unsupported, err)) {
        return false;
    }
    *bytes = options->world > 1
                     ? memory_arena_bytes(plan.planned[OWNER_GRADS], options->poison)
                     : 0;
    return true;
}

/* -- create --------------------------------------------------------------------------
 */

static struct tensor *tensor_of(struct program *p, int id) {
    return &p->tensors[id].tensor;
}

/* Elements [from, to) of an arena of the training program. */
static struct tensor slice(struct engine *e, int arena, int64_t from, int64_t to) {
    struct tensor t = *tensor_of(&e->training, arena);
    t.data = (char *)t.data + (size_t)from * dtype_size(t.type);
    t.size[0] = to - from;
    return t;
}

static struct tensor parameter_slice(struct engine *e, int arena, int index) {
    const struct parameter *p = &e->parameters.items[index];
    return slice(e, arena, p->offset, p->offset + p->count);
}

static struct device_access access_of(const struct engine *e) {
    return (struct device_access){
            e->options.kernels, e->options.stream, e->options.device};
}

static bool fill(struct engine *e, struct tensor t, unsigned char byte,
        struct kernel_error *why) {
    return e->options.kernels->fill(
            e->options.stream, t.data, byte, tensor_bytes(&t), why);
}

/*
 * Alignment gaps between parameters take part in norm, AdamW and reductions as zeros;
 * moments start from zero.
 */
static bool fill_state(struct engine *e, struct kernel_error *why) {
    const struct program *p = &e->training;
    const struct parameters *all = &e->parameters;
    const int gapped[] = {p->weights, p->master, p->grads};
    for (int i = 0; i < all->count; i++) {
        int64_t from = all->items[i].offset + all->items[i].count;
        int64_t to = i + 1 < all->count ? all->items[i + 1].offset : all->elements;
        for (int k = 0; k < 3; k++) {
            if (!fill(e, slice(e, gapped[k], from, to), 0, why)) {
                return false;
            }
        }
    }
    return fill(e, slice(e, p->first_moment, 0, all->elements), 0, why) &&
           fill(e, slice(e, p->second_moment, 0, all->elements), 0, why);
}

bool engine_write_parameter(
        struct engine *e, int index, const double *values, struct text *err) {
    struct kernel_error why = {0};
    struct device_access access = access_of(e);
    struct tensor master = parameter_slice(e, e->training.master, index);
    struct tensor weight = parameter_slice(e, e->training.weights, index);
    if (!values_write(&access, &master, values, err)) {
        return false;
    }
    return weight.data == master.data ||
           e->options.kernels->cast(e->options.stream, &weight, &master, &why) ||
           text_fail(err, "cannot round a weight: %s", why.sentence);
}

/* Where a slot of the ring holds what: the rate, then inputs, then targets. */
static size_t rate_bytes(void) {
    return MEMORY_ALIGN;
}

static size_t batch_bytes(const struct engine *e) {
    return (size_t)(e->shape.accumulate * e->shape.rows) * sizeof(int32_t);
}

/* Drawn on the device, where it can. */
static bool draw_parameter(
        struct engine *e, int index, uint64_t seed, struct text *err) {
    const struct kernels *k = e->options.kernels;
    const struct parameter *p = &e->parameters.items[index];
    struct tensor master = parameter_slice(e, e->training.master, index);
    struct tensor weight = parameter_slice(e, e->training.weights, index);
    struct kernel_error why = {0};
    bool good = k->normal(e->options.stream, &master, parameters_key(p, seed),
                        p->init_std, &why) &&
                (weight.data == master.data ||
                        k->cast(e->options.stream, &weight, &master, &why));
    return good || text_fail(err, "cannot draw '%s': %s", p->name, why.sentence);
}

static bool fill_parameters(struct engine *e, struct text *err) {
    uint64_t seed = (uint64_t)params_integer(&e->params, PARAM_SEED);
    bool good = true;
    for (int i = 0; good && i < e->parameters.count; i++) {
        const struct parameter *p = &e->parameters.items[i];
        if (e->options.kernels->normal && p->init_std != 0) {
            good = draw_parameter(e, i, seed, err);
            continue;
        }
        float *values = text_allocate((size_t)p->count * sizeof *values);
        double *wide = text_allocate((size_t)p->count * sizeof *wide);
        parameters_fill(p, seed, values);
        for (int64_t k = 0; k < p->count; k++) {
            wide[k] = values[k];
        }
        good = engine_write_parameter(e, i, wide, err);
        free(wide);
        free(values);
    }
    return good;
}

static bool fill_control(struct engine *e, struct text *err) {
    struct device_access access = access_of(e);
    bool scaled = params_integer(&e->params, PARAM_PRECISION) == PRECISION_FP16 &&
                  !e->options.double_precision;
    double values[CONTROL_COUNT] = {[CONTROL_LOSS_SCALE] = 1, [CONTROL_STEP_SCALE] = 1};
    if (!values_write(&access, tensor_of(&e->evaluation, e->evaluation.control), values,
                err)) {
        return false;
    }
    values[CONTROL_LOSS_SCALE] = scaled ? OPTIMIZER_LOSS_SCALE : 1;
    return values_write(
            &access, tensor_of(&e->training, e->training.control), values, err);
}

static bool fill_all(struct engine *e, struct kernel_error *why, struct text *err) {
    if (!fill_state(e, why)) {
        return text_fail(err, "cannot fill memory: %s", why->sentence);
    }
    return fill_control(e, err) && fill_parameters(e, err);
}

bool engine_create(const struct engine_options *options, struct engine **out,
        struct kernel_error *why, struct text *err) {
    struct engine *e = text_allocate_zeroed(1, sizeof *e);
    bool unsupported;
    *why = (struct kernel_error){0};
    if (!build(e, options, &unsupported, err)) {
        why->kind = unsupported ? KERNEL_UNSUPPORTED : KERNEL_OK;
        goto fail;
    }
    struct device_access access = access_of(e);
    if (!memory_init(&e->memory, &access, e->planned, options->comm, options->poison,
                why, err)) {
        goto fail;
    }
    size_t control = CONTROL_COUNT * dtype_size(e->shape.exact);
    if (!ring_init(
                &e->ring, &access, rate_bytes() + 2 * batch_bytes(e), control, why)) {
        text_fail(err, "cannot allocate a batch's room: %s", why->sentence);
        goto fail;
    }
    memory_bind(&e->memory, &e->training);
    memory_bind(&e->memory, &e->evaluation);
    if (!fill_all(e, why, err)) {
        goto fail;
    }
    e->graphed = params_integer(&e->params, PARAM_GRAPH) == GRAPH_ON;
    e->executor = (struct executor){.shape = &e->shape,
            .stream = options->stream,
            .comm = options->comm,
            .clip = optimizer_clip(&e->params),
            .adamw = optimizer_adamw(&e->params),
            .alive = options->alive,
            .user = options->user};
    *out = e;
    return true;
fail:
    engine_destroy(e);
    return false;
}

void engine_destroy(struct engine *e) {
    if (!e) {
        return;
    }
    if (e->graph) {
        e->options.kernels->graph_destroy(e->graph);
    }
    ring_finish(&e->ring);
    memory_finish(&e->memory);
    finish_programs(e);
    free(e);
}

/* -- steps ---------------------------------------------------------------------------
 */

static bool copy_batch(struct engine *e, const void *inputs, const void *targets,
        size_t bytes, struct kernel_error *why) {
    struct program *p = &e->training;
    const struct kernels *k = e->options.kernels;
    void *tokens_at = tensor_of(p, p->tensors[p->tokens].base)->data;
    void *targets_at = tensor_of(p, p->tensors[p->targets].base)->data;
    return k->copy(e->options.stream, COPY_TO_DEVICE, tokens_at, inputs, bytes, why) &&
           k->copy(e->options.stream, COPY_TO_DEVICE, targets_at, targets, bytes, why);
}

/* The learning rate to the device, and this step's loss scale to where it stays. */
static bool set_control(
        struct engine *e, double lr, void *slot, struct kernel_error *why) {
    const struct kernels *k = e->options.kernels;
    const struct tensor *control = tensor_of(&e->training, e->training.control);
    char *at = control->data;
    size_t size = dtype_size(control->type);
    if (control->type == DTYPE_F64) {
        *(double *)slot = lr;
    } else {
        *(float *)slot = (float)lr;
    }
    return k->copy(e->options.stream, COPY_TO_DEVICE, at + CONTROL_LR * size, slot,
                   size, why) &&
           k->copy(e->options.stream, COPY_ON_DEVICE, at + CONTROL_STEP_SCALE * size,
                   at + CONTROL_LOSS_SCALE * size, size, why);
}

/* Batch and rate on their way to the device, by way of the ring. */
static bool stage(struct engine *e, const int32_t *inputs, const int32_t *targets,
        double lr, struct text *err) {
    char *slot = ring_input(&e->ring);
    char *inputs_at = slot + rate_bytes(), *targets_at = inputs_at + batch_bytes(e);
    struct kernel_error why = {0};
    memcpy(inputs_at, inputs, batch_bytes(e));
    memcpy(targets_at, targets, batch_bytes(e));
    return (copy_batch(e, inputs_at, targets_at, batch_bytes(e), &why) &&
                   set_control(e, lr, slot, &why)) ||
           text_fail(err, "cannot copy a batch to the device: %s", why.sentence);
}

static bool execute(struct engine *e, struct timeline *timeline, struct text *err) {
    return execute_step(
            &e->executor, &e->training, (int)e->shape.accumulate, timeline, err);
}

/* The step's ops as a graph; nothing runs. */
static bool capture(struct engine *e, struct timeline *timeline, struct graph **out,
        struct text *err) {
    const struct kernels *k = e->options.kernels;
    struct stream *s = e->options.stream;
    struct kernel_error why = {0}, ignored;
    if (!k->graph_begin(s, &why)) {
        return text_fail(err, "cannot begin a graph: %s", why.sentence);
    }
    if (!execute(e, timeline, err)) {
        // The stream leaves capture; what failed has been said.
        if (k->graph_end(s, out, &ignored)) {
            k->graph_destroy(*out);
        }
        *out = NULL;
        return false;
    }
    return k->graph_end(s, out, &why) ||
           text_fail(err, "cannot make a graph of the step: %s", why.sentence);
}

static bool launch(struct engine *e, struct graph *graph, struct text *err) {
    struct kernel_error why = {0};
    return e->options.kernels->graph_launch(e->options.stream, graph, &why) ||
           text_fail(err, "cannot launch the step's graph: %s", why.sentence);
}

/*
 * The first step runs op by op, so that libraries have loaded and chosen what they need
 * when the second is captured.
 */
static bool run(struct engine *e, struct text *err) {
    if (!e->graphed || e->ring.queued == 0) {
        return execute(e, NULL, err);
    }
    return (e->graph || capture(e, NULL, &e->graph, err)) && launch(e, e->graph, err);
}

static bool send_outcome(struct engine *e, struct text *err) {
    struct kernel_error why = {0};
    const struct tensor *control = tensor_of(&e->training, e->training.control);
    return ring_queue(&e->ring, control->data, &why) ||
           text_fail(err, "cannot copy a step's outcome: %s", why.sentence);
}

bool engine_step(struct engine *e, const int32_t *inputs, const int32_t *targets,
        double lr, struct text *err) {
    return stage(e, inputs, targets, lr, err) && run(e, err) && send_outcome(e, err);
}

/* The marks of an instrumented step, eager or in a graph of its own. */
static bool run_marked(struct engine *e, struct timeline *timeline, struct text *err) {
    struct graph *graph = NULL;
    if (!e->graphed) {
        return execute(e, timeline, err) && timeline_mark(timeline, PHASE_END, err);
    }
    bool good = capture(e, timeline, &graph, err) && launch(e, graph, err) &&
                timeline_mark(timeline, PHASE_END, err);
    struct kernel_error why = {0};
    if (good && !e->options.kernels->stream_synchronize(e->options.stream, &why)) {
        good = text_fail(err, "cannot wait for the step: %s", why.sentence);
    }
    e->options.kernels->graph_destroy(graph);
    return good;
}

bool engine_step_instrumented(struct engine *e, const int32_t *inputs,
        const int32_t *targets, double lr, struct engine_phases *out,
        struct text *err) {
    struct timeline timeline;
    double ms[PHASE_TIMES] = {0};
    timeline_init(&timeline, e->options.kernels, e->options.stream);
    bool good = timeline_mark(&timeline, PHASE_DATA, err) &&
                stage(e, inputs, targets, lr, err) && run_marked(e, &timeline, err) &&
                send_outcome(e, err) && timeline_read(&timeline, ms, err);
    timeline_finish(&timeline);
    if (good) {
        *out = (struct engine_phases){.data_ms = ms[PHASE_DATA],
                .forward_ms = ms[PHASE_FORWARD],
                .backward_ms = ms[PHASE_BACKWARD],
                .comm_exposed_ms = ms[PHASE_REDUCE],
                .optimizer_ms = ms[PHASE_OPTIMIZER]};
    }
    return good;
}

bool engine_finish_step(struct engine *e, struct engine_step *out, struct text *err) {
    struct kernel_error why = {0};
    const void *outcome;
    if (!ring_wait(&e->ring, &outcome, &why)) {
        return text_fail(err, "a step failed: %s", why.sentence);
    }
    double control[CONTROL_COUNT];
    bool wide = tensor_of(&e->training, e->training.control)->type == DTYPE_F64;
    for (int i = 0; i < CONTROL_COUNT; i++) {
        control[i] = wide ? ((const double *)outcome)[i]
                          : (double)((const float *)outcome)[i];
    }
    *out = (struct engine_step){.loss = control[CONTROL_LOSS],
            .accuracy = control[CONTROL_ACCURACY],
            .grad_norm = control[CONTROL_GRAD_NORM],
            .loss_scale = control[CONTROL_LOSS_SCALE],
            .skipped = (int64_t)control[CONTROL_SKIPPED]};
    return true;
}

bool engine_evaluate(struct engine *e, const int32_t *inputs, const int32_t *targets,
        double *loss_sum, double *correct_sum, struct text *err) {
    double control[CONTROL_COUNT];
    struct kernel_error why = {0};
    struct device_access access = access_of(e);
    size_t bytes = (size_t)e->shape.rows * sizeof *inputs;
    if (!copy_batch(e, inputs, targets, bytes, &why)) {
        return text_fail(err, "cannot copy a batch to the device: %s", why.sentence);
    }
    if (!execute_step(&e->executor, &e->evaluation, 1, NULL, err) ||
            !values_read(&access, tensor_of(&e->evaluation, e->evaluation.control),
                    control, err)) {
        return false;
    }
    *loss_sum = control[CONTROL_LOSS];
    *correct_sum = control[CONTROL_ACCURACY];
    return true;
}

void engine_break(struct engine *e) {
    // All bits set is a NaN in every type. The final norm's weight stands last but one.
    struct kernel_error why = {0};
    const int arenas[] = {e->training.weights, e->training.master};
    for (int i = 0; i < 2; i++) {
        struct tensor weight = parameter_slice(e, arenas[i], e->parameters.count - 2);
        weight.size[0] = 1;
        (void)fill(e, weight, 0xff, &why);
    }
}

/* -- what it holds -------------------------------------------------------------------
 */

const struct parameters *engine_parameters(const struct engine *e) {
    return &e->parameters;
}

bool engine_read_parameter(
        struct engine *e, int index, double *values, struct text *err) {
    struct device_access access = access_of(e);
    struct tensor t = parameter_slice(e, e->training.master, index);
    return values_read(&access, &t, values, err);
}

bool engine_read_gradient(
        struct engine *e, int index, double *values, struct text *err) {
    struct device_access access = access_of(e);
    double control[CONTROL_COUNT];
    struct tensor t = parameter_slice(e, e->training.grads, index);
    if (!values_read(
                &access, tensor_of(&e->training, e->training.control), control, err) ||
            !values_read(&access, &t, values, err)) {
        return false;
    }
    for (int64_t i = 0; i < tensor_count(&t); i++) {
        values[i] /= control[CONTROL_STEP_SCALE];
    }
    return true;
}

bool engine_memory(struct engine *e, struct engine_memory *out, struct text *err) {
    memcpy(out->planned, e->planned, sizeof out->planned);
    out->forward_bytes = e->forward_bytes;
    out->backward_bytes = e->backward_bytes;
    return memory_measure(&e->memory, out->measured, err);
}

double engine_flops_per_token(const struct engine *e, bool recomputation) {
    return shape_flops_per_token(&e->shape, recomputation);
}

#include "worker/engine_state.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "worker/ledger.h"
#include "worker/timeline.h"

/* Phases of a timeline: the program's, and the batch's copy. */
enum { PHASE_DATA = PHASE_OPTIMIZER + 1, PHASE_END, PHASE_TIMES };

static bool copy_batch(struct engine *e, const void *inputs, const void *targets,
        size_t bytes, struct kernel_error *why) {
    struct program *p = &e->training;
    const struct kernels *k = e->options.kernels;
    void *tokens_at = engine_tensor(p, p->tensors[p->tokens].base)->data;
    void *targets_at = engine_tensor(p, p->tensors[p->targets].base)->data;
    return k->copy(e->options.stream, COPY_TO_DEVICE, tokens_at, inputs, bytes, why) &&
           k->copy(e->options.stream, COPY_TO_DEVICE, targets_at, targets, bytes, why);
}

/* The learning rate to the device, and this step's loss scale to where it stays. */
static bool set_control(
        struct engine *e, double lr, void *slot, struct kernel_error *why) {
    const struct kernels *k = e->options.kernels;
    const struct tensor *control = engine_tensor(&e->training, e->training.control);
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
    char *inputs_at = slot + engine_rate_bytes(),
         *targets_at = inputs_at + engine_batch_bytes(e);
    struct kernel_error why = {0};
    memcpy(inputs_at, inputs, engine_batch_bytes(e));
    memcpy(targets_at, targets, engine_batch_bytes(e));
    return (copy_batch(e, inputs_at, targets_at, engine_batch_bytes(e), &why) &&
                   set_control(e, lr, slot, &why)) ||
           text_fail(err, "cannot copy a batch to the device: %s", why.sentence);
}

/* What the stream is to do, under marks where `timeline` is given. */
typedef bool (*work_fn)(struct engine *e, struct timeline *timeline, struct text *err);

static bool execute(struct engine *e, struct timeline *timeline, struct text *err) {
    int micros = (int)e->shape.accumulate;
    return execute_step(&e->executor, &e->training, micros, timeline, err) &&
           (!timeline || timeline_mark(timeline, PHASE_END, err));
}

/* Nothing but marks. */
static bool only_mark(struct engine *e, struct timeline *timeline, struct text *err) {
    (void)e;
    bool good = true;
    for (int i = 0; good && i <= LEDGER_MARKS; i++) {
        good = timeline_mark(timeline, 0, err);
    }
    return good;
}

/* The work as a graph; nothing runs. */
static bool capture(struct engine *e, work_fn work, struct timeline *timeline,
        struct graph **out, struct text *err) {
    const struct kernels *k = e->options.kernels;
    struct stream *s = e->options.stream;
    struct kernel_error why = {0}, ignored;
    if (!k->graph_begin(s, &why)) {
        return text_fail(err, "cannot begin a graph: %s", why.sentence);
    }
    if (!work(e, timeline, err)) {
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
    if (e->options.comm && !comm_replay(e->options.comm, e->options.stream, err)) {
        return false;
    }
    return e->options.kernels->graph_launch(e->options.stream, graph, &why) ||
           text_fail(err, "cannot launch the step's graph: %s", why.sentence);
}

/*
 * The first step runs op by op, so that libraries have loaded and chosen what they need
 * when the second is captured.
 */
static bool run(struct engine *e, struct text *err) {
    if (!e->graphed || e->ring.queued == 0 || e->executor.weight != 1) {
        return execute(e, NULL, err);
    }
    return (e->graph || capture(e, execute, NULL, &e->graph, err)) &&
           launch(e, e->graph, err);
}

static bool send_outcome(struct engine *e, struct text *err) {
    struct kernel_error why = {0};
    const struct tensor *control = engine_tensor(&e->training, e->training.control);
    return ring_queue(&e->ring, control->data, &why) ||
           text_fail(err, "cannot copy a step's outcome: %s", why.sentence);
}

void engine_weigh(struct engine *e, double weight) {
    e->executor.weight = e->broken ? NAN : weight;
}

bool engine_step(struct engine *e, const int32_t *inputs, const int32_t *targets,
        double lr, struct text *err) {
    return stage(e, inputs, targets, lr, err) && run(e, err) && send_outcome(e, err);
}

/* A step's input. */
struct batch {
    const int32_t *inputs, *targets;
    double lr;
};

static bool stage_batch(struct engine *e, const struct batch *b, struct text *err) {
    return !b || stage(e, b->inputs, b->targets, b->lr, err);
}

/*
 * Work under marks, eager or in a graph of its own; `batch` NULL: it needs none. A
 * graph is made first: the device waits for it between no two marks. Ranks begin
 * together, so that none is timed while it waits for a late one.
 */
static bool run_marked(struct engine *e, work_fn work, const struct batch *batch,
        struct timeline *timeline, struct text *err) {
    struct graph *graph = NULL;
    bool first = timeline->count == 1;
    bool good = (!e->graphed || capture(e, work, timeline, &graph, err)) &&
                (!e->options.comm || comm_barrier(e->options.comm, err)) &&
                (!first || timeline_mark_again(timeline, err)) &&
                stage_batch(e, batch, err);
    if (!e->graphed) {
        return good && work(e, timeline, err);
    }
    good = good && launch(e, graph, err);
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
    struct batch batch = {inputs, targets, lr};
    bool good = timeline_mark(&timeline, PHASE_DATA, err) &&
                run_marked(e, execute, &batch, &timeline, err) &&
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

/* What a mark costs, between marks that have nothing between them. */
static bool time_marks(struct engine *e, double *ms, struct text *err) {
    static const int each[1];
    struct timeline timeline;
    double sum = 0;
    timeline_init(&timeline, e->options.kernels, e->options.stream);
    timeline.of_op = each;
    bool good = run_marked(e, only_mark, NULL, &timeline, err) &&
                timeline_read(&timeline, &sum, err);
    timeline_finish(&timeline);
    *ms = sum / LEDGER_MARKS;
    return good;
}

bool engine_step_ops(struct engine *e, const int32_t *inputs, const int32_t *targets,
        double lr, struct ledger *ledger, struct text *err) {
    if (!ledger->rows) {
        ledger_init(ledger, &e->training, &e->parameters, &e->shape,
                (int)e->shape.accumulate);
        if (!time_marks(e, &ledger->mark_ms, err)) {
            return false;
        }
    }
    struct timeline timeline;
    double *ms = text_allocate_zeroed((size_t)ledger->count, sizeof *ms);
    timeline_init(&timeline, e->options.kernels, e->options.stream);
    timeline.of_op = ledger->of_op;
    struct batch batch = {inputs, targets, lr};
    bool good = run_marked(e, execute, &batch, &timeline, err) &&
                send_outcome(e, err) && timeline_read(&timeline, ms, err);
    timeline_finish(&timeline);
    if (good) {
        ledger_add_step(ledger, ms);
    }
    free(ms);
    return good;
}

bool engine_finish_step(struct engine *e, struct engine_step *out, struct text *err) {
    struct kernel_error why = {0};
    const void *outcome;
    if (!ring_wait(&e->ring, &outcome, &why)) {
        return text_fail(err, "a step failed: %s", why.sentence);
    }
    double control[CONTROL_COUNT];
    bool wide = engine_tensor(&e->training, e->training.control)->type == DTYPE_F64;
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
    struct device_access access = engine_access(e);
    size_t bytes = (size_t)e->shape.rows * sizeof *inputs;
    if (!copy_batch(e, inputs, targets, bytes, &why)) {
        return text_fail(err, "cannot copy a batch to the device: %s", why.sentence);
    }
    struct executor whole = e->executor;
    whole.weight = e->broken ? NAN : 1;
    if (!execute_step(&whole, &e->evaluation, 1, NULL, err) ||
            !values_read(&access, engine_tensor(&e->evaluation, e->evaluation.control),
                    control, err)) {
        return false;
    }
    *loss_sum = control[CONTROL_LOSS];
    *correct_sum = control[CONTROL_ACCURACY];
    return true;
}

void engine_break(struct engine *e) {
    // Weights would not do: sharded ones are everybody's by the next gather.
    e->broken = true;
    engine_weigh(e, 1);
}

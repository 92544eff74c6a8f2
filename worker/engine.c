#include "worker/engine_state.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "worker/optimizer.h"

struct tensor engine_range(struct engine *e, int arena, int64_t from, int64_t to) {
    struct tensor t = *engine_tensor(&e->training, arena);
    t.data = (char *)t.data + (size_t)from * dtype_size(t.type);
    t.size[0] = to - from;
    return t;
}

struct tensor engine_slice(struct engine *e, int arena, int index) {
    const struct parameter *p = &e->parameters.items[index];
    return engine_range(e, arena, p->offset, p->offset + p->count);
}

bool engine_fill(struct engine *e, struct tensor t, unsigned char byte,
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
    const int gapped[] = {p->weights, p->grads};
    for (int i = 0; i < all->count; i++) {
        int64_t from = all->items[i].offset + all->items[i].count;
        int64_t to = i + 1 < all->count ? all->items[i + 1].offset : all->elements;
        for (int k = 0; k < 2; k++) {
            if (!engine_fill(e, engine_range(e, gapped[k], from, to), 0, why)) {
                return false;
            }
        }
    }
    bool apart = p->master != p->weights;
    return (!apart ||
                   engine_fill(e, engine_range(e, p->master, 0, all->owned), 0, why)) &&
           engine_fill(e, engine_range(e, p->first_moment, 0, all->owned), 0, why) &&
           engine_fill(e, engine_range(e, p->second_moment, 0, all->owned), 0, why);
}

/* Elements of a parameter that this rank updates, `first` and `count` in it. */
struct piece {
    int64_t first, count;
    struct tensor weights, master;
};

/* What of parameter `index` lies in shard `k`; false where nothing does. */
static bool find_piece(struct engine *e, int index, int k, struct piece *out) {
    const struct parameter *p = &e->parameters.items[index];
    const struct shard *s = &e->ddp.shards.items[k];
    int64_t from = p->offset > s->from ? p->offset : s->from;
    int64_t end = p->offset + p->count, shard_end = s->from + s->count;
    int64_t to = end < shard_end ? end : shard_end;
    if (from >= to) {
        return false;
    }
    const struct program *t = &e->training;
    int64_t state = s->state + from - s->from;
    *out = (struct piece){.first = from - p->offset,
            .count = to - from,
            .weights = engine_range(e, t->weights, from, to)};
    out->master = t->master == t->weights
                          ? out->weights
                          : engine_range(e, t->master, state, state + to - from);
    return true;
}

static bool round_piece(struct engine *e, struct piece *piece, struct text *err) {
    struct kernel_error why = {0};
    return piece->weights.data == piece->master.data ||
           e->options.kernels->cast(
                   e->options.stream, &piece->weights, &piece->master, &why) ||
           text_fail(err, "cannot round a weight: %s", why.sentence);
}

bool engine_write_parameter(
        struct engine *e, int index, const double *values, struct text *err) {
    struct device_access access = engine_access(e);
    struct piece piece;
    bool good = true;
    for (int k = 0; good && k < e->ddp.shards.count; k++) {
        if (find_piece(e, index, k, &piece)) {
            good = values_write(&access, &piece.master, values + piece.first, err) &&
                   round_piece(e, &piece, err);
        }
    }
    return good;
}

/* Drawn on the device, where it can. */
static bool draw_parameter(
        struct engine *e, int index, uint64_t seed, struct text *err) {
    const struct kernels *kernels = e->options.kernels;
    const struct parameter *p = &e->parameters.items[index];
    struct kernel_error why = {0};
    struct piece piece;
    bool good = true;
    for (int k = 0; good && k < e->ddp.shards.count; k++) {
        if (find_piece(e, index, k, &piece)) {
            good = (kernels->normal(e->options.stream, &piece.master,
                            parameters_key(p, seed), piece.first, p->init_std, &why) ||
                           text_fail(err, "cannot draw '%s': %s", p->name,
                                   why.sentence)) &&
                   round_piece(e, &piece, err);
        }
    }
    return good;
}

static bool is_drawn(const struct engine *e, const struct parameter *p) {
    return e->options.kernels->normal && p->init_std != 0;
}

static bool fill_parameters(struct engine *e, struct text *err) {
    uint64_t seed = (uint64_t)params_integer(&e->params, PARAM_SEED);
    int64_t most = 1;
    for (int i = 0; i < e->parameters.count; i++) {
        const struct parameter *p = &e->parameters.items[i];
        most = !is_drawn(e, p) && p->count > most ? p->count : most;
    }
    // Once for all: what is freed and taken again may stay the process's.
    float *values = text_allocate((size_t)most * sizeof *values);
    double *wide = text_allocate((size_t)most * sizeof *wide);
    bool good = true;
    for (int i = 0; good && i < e->parameters.count; i++) {
        const struct parameter *p = &e->parameters.items[i];
        if (is_drawn(e, p)) {
            good = draw_parameter(e, i, seed, err);
            continue;
        }
        parameters_fill(p, seed, values);
        for (int64_t k = 0; k < p->count; k++) {
            wide[k] = values[k];
        }
        good = engine_write_parameter(e, i, wide, err);
    }
    free(wide);
    free(values);
    return good;
}

/* A parameter starts on a block of AdamW's, so every block decays whole or not. */
static bool fill_decayed(struct engine *e, struct kernel_error *why) {
    static_assert(PARAMETER_ALIGN % ADAMW_BLOCK == 0, "blocks are of one parameter");
    struct tensor map = *engine_tensor(&e->training, e->training.decayed);
    bool good = engine_fill(e, map, 0, why);
    for (int i = 0; good && i < e->parameters.count; i++) {
        const struct parameter *p = &e->parameters.items[i];
        if (p->decay) {
            struct tensor part = map;
            part.data = (char *)map.data + p->offset / ADAMW_BLOCK;
            part.size[0] = (p->count + ADAMW_BLOCK - 1) / ADAMW_BLOCK;
            good = engine_fill(e, part, 1, why);
        }
    }
    return good;
}

/* Shards are whole chunks, so that the optimizer finds them by number. */
static bool fill_owned(struct engine *e, struct kernel_error *why) {
    struct tensor *owned = engine_tensor(&e->training, e->training.owned);
    if (!tensor_given(owned)) {
        return true;
    }
    const struct shards *shards = &e->ddp.shards;
    size_t bytes = tensor_bytes(owned);
    int32_t *numbers = text_allocate(bytes);
    for (int k = 0; k < shards->count; k++) {
        const struct shard *s = &shards->items[k];
        assert(s->from % NORM_CHUNK == 0 && s->count % NORM_CHUNK == 0);
        for (int64_t i = 0; i < s->count / NORM_CHUNK; i++) {
            numbers[s->state / NORM_CHUNK + i] = (int32_t)(s->from / NORM_CHUNK + i);
        }
    }
    const struct kernels *k = e->options.kernels;
    struct stream *stream = e->options.stream;
    bool good = k->copy(stream, COPY_TO_DEVICE, owned->data, numbers, bytes, why) &&
                k->stream_synchronize(stream, why);
    free(numbers);
    return good;
}

static bool fill_control(struct engine *e, struct text *err) {
    struct device_access access = engine_access(e);
    bool scaled = params_integer(&e->params, PARAM_PRECISION) == PRECISION_FP16 &&
                  !e->options.double_precision;
    double values[CONTROL_COUNT] = {[CONTROL_LOSS_SCALE] = 1, [CONTROL_STEP_SCALE] = 1};
    if (!values_write(&access, engine_tensor(&e->evaluation, e->evaluation.control),
                values, err)) {
        return false;
    }
    values[CONTROL_LOSS_SCALE] = scaled ? OPTIMIZER_LOSS_SCALE : 1;
    return values_write(
            &access, engine_tensor(&e->training, e->training.control), values, err);
}

static bool fill_all(struct engine *e, struct kernel_error *why, struct text *err) {
    if (!fill_state(e, why) || !fill_decayed(e, why) || !fill_owned(e, why)) {
        return text_fail(err, "cannot fill memory: %s", why->sentence);
    }
    return fill_control(e, err) && fill_parameters(e, err);
}

bool engine_create(const struct engine_options *options, struct engine **out,
        struct kernel_error *why, struct text *err) {
    struct engine *e = text_allocate_zeroed(1, sizeof *e);
    bool unsupported;
    *why = (struct kernel_error){0};
    if (!engine_build(e, options, &unsupported, err)) {
        why->kind = unsupported ? KERNEL_UNSUPPORTED : KERNEL_OK;
        goto fail;
    }
    struct device_access access = engine_access(e);
    if (!memory_init(&e->memory, &access, e->planned, e->shared, options->comm,
                options->poison, why, err)) {
        goto fail;
    }
    size_t control = CONTROL_COUNT * dtype_size(e->shape.exact);
    if (!ring_init(&e->ring, &access, engine_rate_bytes() + 2 * engine_batch_bytes(e),
                control, why)) {
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
            .weight = 1,
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
    engine_unbuild(e);
    free(e);
}

/* -- what it holds -------------------------------------------------------------------
 */

const struct parameters *engine_parameters(const struct engine *e) {
    return &e->parameters;
}

bool engine_read_parameter(
        struct engine *e, int index, double *values, struct text *err) {
    struct device_access access = engine_access(e);
    bool spread = e->ddp.wrapper == DDP_SHARDED;
    int arena = spread ? e->training.weights : e->training.master;
    struct tensor t = engine_slice(e, arena, index);
    return values_read(&access, &t, values, err);
}

bool engine_gather(struct engine *e, struct text *err) {
    const struct buckets *all = &e->ddp.buckets;
    const int arenas[] = {e->training.weights, e->training.grads};
    struct comm *comm = e->options.comm;
    bool good = true;
    if (e->ddp.wrapper != DDP_SHARDED) {
        return true;
    }
    for (int i = 0; good && i < 2 * all->count; i++) {
        const struct bucket *b = &all->items[i / 2];
        good = comm_all_gather(comm, e->options.stream, NULL,
                engine_tensor(&e->training, arenas[i % 2]), b->from, b->to, err);
    }
    return good && comm_wait(comm, e->options.stream, 0, err);
}

bool engine_read_gradient(
        struct engine *e, int index, double *values, struct text *err) {
    struct device_access access = engine_access(e);
    double control[CONTROL_COUNT];
    struct tensor t = engine_slice(e, e->training.grads, index);
    if (!values_read(&access, engine_tensor(&e->training, e->training.control), control,
                err) ||
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

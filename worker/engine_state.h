/*
 * What an engine is made of, for the files that make it up: engine_plan.c (what it will
 * need), engine.c (its memory and what lies there), engine_step.c (what it does).
 */
#ifndef WORKER_ENGINE_STATE_H
#define WORKER_ENGINE_STATE_H

#include "worker/ddp.h"
#include "worker/engine.h"
#include "worker/execute.h"
#include "worker/program.h"
#include "worker/ring.h"
#include "worker/shape.h"
#include "worker/values.h"

/* The control block's last element is the engine's own: the scale the step ran with. */
#define CONTROL_STEP_SCALE (CONTROL_COUNT - 1)

struct engine {
    struct engine_options options;
    struct params params;
    struct shape shape;
    struct parameters parameters;
    struct ddp ddp;
    struct program training, evaluation;
    int64_t planned[OWNER_COUNT];
    bool shared[OWNER_COUNT]; /* arenas that lie in the communicator's memory */
    int64_t forward_bytes, backward_bytes;
    struct memory memory;
    struct executor executor;
    struct ring ring;
    bool graphed;        /* steps run as one graph … */
    struct graph *graph; /* … captured by the second; NULL before */
    bool broken;         /* what is computed weighs NaN from now on (inject: nan) */
};

/* All but memory; `*unsupported` as engine_plan() says. On failure `e` needs
 * engine_unbuild() all the same. */
bool engine_build(struct engine *e, const struct engine_options *options,
        bool *unsupported, struct text *err);
void engine_unbuild(struct engine *e);

/* A tensor of one of the engine's programs. */
static inline struct tensor *engine_tensor(struct program *p, int id) {
    return &p->tensors[id].tensor;
}

static inline struct device_access engine_access(const struct engine *e) {
    return (struct device_access){
            e->options.kernels, e->options.stream, e->options.device};
}

/* Elements [from, to) of an arena of the training program. */
struct tensor engine_range(struct engine *e, int arena, int64_t from, int64_t to);

/* Parameter `index` in an arena of the training program that is not spread. */
struct tensor engine_slice(struct engine *e, int arena, int index);

/* Fill a tensor's bytes. */
bool engine_fill(struct engine *e, struct tensor t, unsigned char byte,
        struct kernel_error *why);

/* Where a slot of the ring holds what: the rate, then inputs, then targets. */
static inline size_t engine_rate_bytes(void) {
    return MEMORY_ALIGN;
}

static inline size_t engine_batch_bytes(const struct engine *e) {
    return (size_t)(e->shape.accumulate * e->shape.rows) * sizeof(int32_t);
}

#endif

/*
 * The training engine: one model, its memory and its step, on one device.
 *
 * The step is declared once as a program (worker/program.h): a list of ops with what
 * they read and write. The memory plan, eager execution, checkpointing, gradient
 * reduction, instrumentation and (on CUDA) graph capture all walk that list. What a
 * caller sees is below: create, step, evaluate.
 */
#ifndef WORKER_ENGINE_H
#define WORKER_ENGINE_H

#include <stdbool.h>
#include <stdint.h>

#include "kernels/kernels.h"
#include "matrix/axes.h"
#include "matrix/text.h"
#include "worker/comm.h"
#include "worker/memory.h"
#include "worker/parameters.h"

/*
 * Bytes by owner: planned before anything is allocated, and measured by poison. The
 * guard page behind each arena is in neither; a mark above the plan means that
 * something wrote into it.
 */
struct engine_memory {
    int64_t planned[OWNER_COUNT];
    int64_t measured[OWNER_COUNT]; /* high-water mark found; −1 before measured */
    int64_t forward_bytes;         /* planned in use at the end of forward … */
    int64_t backward_bytes;        /* … at backward's largest */
};

struct engine_options {
    const struct params *params;
    int64_t vocab; /* the model's, resolved (≥ the tokenizer's) */
    int64_t batch; /* per rank and micro-step, resolved from batch or global_batch */
    int rank, world;
    int device;  /* index, as the stream's; 0 on the CPU */
    int threads; /* the stream's; 0: engine_threads() */
    const struct kernels *kernels;
    struct stream *stream;
    struct comm *comm;     /* NULL where world is 1 */
    bool poison;           /* fill arenas so that engine_memory() can tell */
    bool red_zones;        /* keep bytes free after each tensor and check them after
                              each op; always so in a build with assertions */
    bool double_precision; /* tests: kernels_reference64(), every tensor F64 */

    /* Called after every op of a step or an evaluation; NULL: not wanted. */
    void (*alive)(void *user);
    void *user;
};

struct engine; /* opaque */
struct ledger; /* worker/ledger.h */

/* What one step did, as the host reads it once the step has finished. */
struct engine_step {
    double loss, accuracy; /* this rank's mean over its tokens */
    double grad_norm, loss_scale;
    int64_t skipped; /* updates skipped so far for overflow */
};

/* Milliseconds by phase of one instrumented step, by device events. */
struct engine_phases {
    double data_ms, forward_ms, backward_ms, comm_exposed_ms, optimizer_ms;
};

/* Threads of one rank's stream: `threads`, or on 0 this process's cores ÷ world. */
int engine_threads(const struct params *params, int world);

/*
 * The plan alone: bytes by owner for `options` (stream and comm may be NULL). Fails for
 * what cannot be built: an attention kernel this build lacks says kind "unsupported"
 * through `unsupported`.
 */
bool engine_plan(const struct engine_options *options, struct engine_memory *out,
        bool *unsupported, struct text *err);

/*
 * Let the device choose how to do the matrix products of this engine's steps that the
 * stream's table does not know yet; adds those met to `products`. Nothing is trained.
 */
bool engine_tune(const struct engine_options *options, int64_t *products,
        bool *unsupported, struct text *err);

/* What comm_create() must be told. Bytes for what this engine's collectives read and
 * write: gradients, and where tokens are gathered activations and the batch, each with
 * all that lies in the same arena. So all ranks need the same threads, and cards of one
 * kind. And the share of a device that its wrapper lets them have. */
bool engine_comm_needs(const struct engine_options *options, size_t *bytes,
        enum comm_share *share, struct text *err);

/*
 * Plan, allocate, fill initial weights from `seed`. On failure nothing is held; `why`
 * tells refused memory (asked and free bytes) from lacking support from other faults.
 */
bool engine_create(const struct engine_options *options, struct engine **out,
        struct kernel_error *why, struct text *err);
void engine_destroy(struct engine *e); /* NULL is fine */

/*
 * Queue one training step: `accumulate` micro-batches, reduction over ranks, clip,
 * AdamW at `lr`. `inputs` and `targets` are [accumulate, batch, seq_len] in host memory
 * and free again on return. At most RING_SLOTS steps may be queued and not finished.
 */
bool engine_step(struct engine *e, const int32_t *inputs, const int32_t *targets,
        double lr, struct text *err);

/*
 * What the following steps multiply losses and gradients by; 1 at first. A step divides
 * them by all the rows that it has room for: where some are padding, whole ÷ real makes
 * them means again. Such a step runs op by op.
 */
void engine_weigh(struct engine *e, double weight);

/* As engine_step(), with events around the phases; synchronises. No other step may be
 * on its way. */
bool engine_step_instrumented(struct engine *e, const int32_t *inputs,
        const int32_t *targets, double lr, struct engine_phases *out, struct text *err);

/*
 * The same with a mark before each op, whose times `ledger` takes. The first call, on
 * one that is zeroed, declares its rows and times marks with nothing between them.
 */
bool engine_step_ops(struct engine *e, const int32_t *inputs, const int32_t *targets,
        double lr, struct ledger *ledger, struct text *err);

/* Wait for the oldest queued step and read its outcome. */
bool engine_finish_step(struct engine *e, struct engine_step *out, struct text *err);

/* Forward only: sums over the real targets of [batch, seq_len]. Synchronises. */
bool engine_evaluate(struct engine *e, const int32_t *inputs, const int32_t *targets,
        double *loss_sum, double *correct_sum, struct text *err);

/* Make the losses and gradients that this rank computes NaN, from its next step on;
 * those of other ranks stay (inject: nan). */
void engine_break(struct engine *e);

const struct parameters *engine_parameters(const struct engine *e);

/*
 * All ranks together, before any reads what follows: bring whole gradients and weights
 * to every rank where `ddp: sharded` has spread them. Nothing to do for the others.
 */
bool engine_gather(struct engine *e, struct text *err);

/*
 * Copies of one parameter, its gradient (as of the last step, unscaled and reduced), as
 * `count` doubles on the host. Parameters are read from the master weights, where they
 * are sharded from the model's; writing rounds the latter from the former, and sharded
 * changes only this rank's share, so all write the same. Synchronises. For tests and
 * checkpoints.
 */
bool engine_read_parameter(
        struct engine *e, int index, double *values, struct text *err);
bool engine_read_gradient(
        struct engine *e, int index, double *values, struct text *err);
bool engine_write_parameter(
        struct engine *e, int index, const double *values, struct text *err);

/* Planned bytes, and with poison the marks found so far. Synchronises. */
bool engine_memory(struct engine *e, struct engine_memory *out, struct text *err);

/* FLOPs of one trained token by design §8 (mfu), and with recomputation (hfu). */
double engine_flops_per_token(const struct engine *e, bool recomputation);

#endif

/*
 * A cell's model and technique, resolved from its parameters for one worker: sizes,
 * types, kernels. What engine, model and optimizer need to know before any memory.
 */
#ifndef WORKER_SHAPE_H
#define WORKER_SHAPE_H

#include <stdbool.h>
#include <stdint.h>

#include "kernels/kernels.h"
#include "matrix/text.h"
#include "worker/engine.h"

#define SHAPE_ROPE_THETA 10000.0f /* of rotary positions, as Llama 2 */

struct shape {
    const struct kernels *kernels;
    const struct attention_kernel *attention;
    struct attention_shape attention_shape;
    struct attention_memory attention_bytes;
    bool gpt; /* else llama */
    int64_t layers, channels, heads, kv_heads, d_ff, vocab, seq_len, batch;
    int64_t rows;     /* batch × seq_len */
    enum dtype type;  /* weights and activations */
    enum dtype grad;  /* gradients of weights */
    enum dtype exact; /* statistics, losses, master weights, moments */
    int64_t segment;  /* blocks per checkpoint segment; 0: no checkpointing */
    int64_t recompute;
    int64_t accumulate, world;
    int threads;
};

/*
 * Resolve `options`. False where the cell cannot be built; `unsupported` then tells
 * whether that is because this worker lacks something (an attention kernel, graphs, …).
 */
bool shape_init(struct shape *s, const struct engine_options *options,
        bool *unsupported, struct text *err);

/* Pairs of a query and a key that it sees, of one sequence and head. */
double shape_seen_pairs(const struct attention_shape *a);

/*
 * FLOPs of one trained token by design §8: 6 × parameters in matrix products +
 * 12 × layers × d_model × mean unmasked keys; with `recomputation` also the products
 * that checkpointing does again.
 */
double shape_flops_per_token(const struct shape *s, bool recomputation);

#endif

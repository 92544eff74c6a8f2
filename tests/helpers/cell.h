/*
 * A cell for tests of the engine: parameters from words, a stream, an engine and
 * batches that depend on nothing but their number.
 */
#ifndef TESTS_HELPERS_CELL_H
#define TESTS_HELPERS_CELL_H

#include <stdint.h>

#include "matrix/axes.h"
#include "worker/engine.h"

struct cell {
    struct params params;
    struct engine_options options; /* vocab and batch from the parameters */
    struct stream *stream;
    struct engine *engine;
    int64_t tokens; /* of one step of one rank */
    int32_t *inputs, *targets;
};

/*
 * Parameters from "key=value key=value …" over small defaults: two layers, d_model 32,
 * four heads, vocab 61, seq_len 16, batch 2. False with a sentence for an unknown word.
 */
bool cell_parse(struct params *params, const char *words, struct text *err);

/* Options, stream and room for a batch, but no engine yet; a failure fails the test. */
void cell_init(struct cell *c, const struct kernels *kernels, const char *words);

/* The same on another device than the first. */
void cell_init_on(
        struct cell *c, const struct kernels *kernels, int device, const char *words);

/* The engine, from `options` as they stand. */
void cell_start(struct cell *c);

/* Both, on one rank. */
void cell_create(struct cell *c, const struct kernels *kernels, const char *words);
void cell_destroy(struct cell *c);

/* Batch number `step` into inputs and targets: a learnable sequence. */
void cell_batch(struct cell *c, int step);

/* One training step on batch `step`; what it says. */
struct engine_step cell_step(struct cell *c, int step, double lr);

/* Parameter count doubles that the caller frees. */
double *cell_gradient(struct cell *c, int index);
double *cell_parameter(struct cell *c, int index);

/* Multiply the parameter of this name by `factor`; its index. */
int cell_scale(struct cell *c, const char *name, double factor);

/* ‖a − b‖ ÷ ‖b‖; ‖a − b‖ where b is zero. NaN if anything is. */
double cell_distance(const double *a, const double *b, int64_t count);

#endif

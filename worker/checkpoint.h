/*
 * A model's weights as Hugging Face's transformers reads and writes them: safetensors,
 * F32, under GPT2LMHeadModel's and LlamaForCausalLM's names. Llama's stacked products
 * are split into theirs, and GPT-2's matrices, which its Conv1D keeps [in, out], are
 * transposed. GPT-2's tied head is not stored, as there.
 */
#ifndef WORKER_CHECKPOINT_H
#define WORKER_CHECKPOINT_H

#include <stdbool.h>

#include "matrix/text.h"
#include "worker/engine.h"

/* Master weights to `path`, which appears whole or not at all. Synchronises. */
bool checkpoint_write(struct engine *e, const char *path, struct text *err);

/*
 * Weights from `path`, of any float type. A tensor that is missing or has another shape
 * is named, and then no weight has changed; tensors that the model lacks are ignored.
 */
bool checkpoint_read(struct engine *e, const char *path, struct text *err);

#endif

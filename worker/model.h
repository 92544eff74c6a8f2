/*
 * The two model families, written once as ops in a program: GPT-2 (LayerNorm, tanh
 * GELU, learned positions, biases, head tied to the embedding) and Llama (RMSNorm,
 * rotary positions, SwiGLU, no biases, own head), both with grouped key/value heads
 * where asked for.
 *
 * Blocks run x → x + attention(norm(x)) → x + mlp(norm(x)). The residual adds are fused
 * into the norm that follows, so a block's mlp output travels unadded to the next norm.
 *
 * Checkpointing keeps each segment's input only; backward then declares the segment's
 * forward again before its gradients. Kernels are deterministic and the gradient's own
 * ops and their order are the same with and without, so losses are bit-equal.
 */
#ifndef WORKER_MODEL_H
#define WORKER_MODEL_H

#include "worker/parameters.h"
#include "worker/program.h"
#include "worker/shape.h"

/* Declare a micro-step: forward, loss, backward. `p` is fresh from program_init(). */
void model_declare_training(
        const struct shape *s, const struct parameters *parameters, struct program *p);

/* Declare forward and loss sums; nothing is kept for backward. */
void model_declare_evaluation(
        const struct shape *s, const struct parameters *parameters, struct program *p);

#endif

/*
 * The trainable parameters of a model: names, shapes, and where each lies in the
 * parameter and gradient arenas. Layer order, the order forward uses them, so that
 * backward fills the gradient arena from its end towards its start and any run of
 * consecutive parameters is one slice.
 */
#ifndef WORKER_PARAMETERS_H
#define WORKER_PARAMETERS_H

#include <stdbool.h>
#include <stdint.h>

#include "matrix/axes.h"

#define PARAMETER_ALIGN 128 /* elements: every tensor starts on such an offset */

/*
 * Names are Hugging Face's ("transformer.h.0.attn.c_attn.weight"), but for two of Llama
 * that are products of one input and so stand fused, rows stacked: self_attn.qkv_proj
 * (q_proj, k_proj, v_proj) and mlp.gate_up_proj (gate_proj, up_proj). checkpoint.h
 * splits them, and transposes GPT-2's matrices, which Hugging Face stores [in, out].
 */
struct parameter {
    char name[80];
    int rank;
    int64_t size[2]; /* [out, in] for a matrix, [size] for a vector */
    int64_t offset;  /* elements into the arena */
    int64_t count;   /* elements without padding */
    int64_t rows;    /* size[0] as it lies in memory: tables of the vocabulary may end
                        in rows of zeros */
    bool decay;      /* weight decay applies: matrices and embeddings */
    float init_std;  /* normal(0, init_std); 0: constant */
    float init_value;
};

struct parameters {
    struct parameter *items;
    int count;
    int64_t elements; /* of an arena, padding included; a multiple of PARAMETER_ALIGN */
    int64_t trained;  /* the model's parameter count, padding excluded */
    int64_t owned;    /* elements whose optimizer state a rank holds: all, unless
                         ddp_init() spreads it over the ranks */
};

/*
 * The list for a cell. `vocab` is the model's, already resolved; its tables get a
 * multiple of `vocab_multiple` rows.
 */
void parameters_init(struct parameters *p, const struct params *params, int64_t vocab,
        int64_t vocab_multiple);
void parameters_finish(struct parameters *p);

/* Lengthen the arena to a multiple of `unit` elements; `owned` is not touched. */
void parameters_pad(struct parameters *p, int64_t unit);

/* Index by name, −1 where there is none. */
int parameters_find(const struct parameters *p, const char *name);

/*
 * Initial values for one parameter, `count` floats: from `seed` and the parameter's
 * name alone, so the values depend on neither device, ranks, precision nor order. As
 * nanoGPT does: normal with deviation 0.02, and 0.02 ÷ √(2·layers) for the matrices
 * that write into the residual stream; biases 0, norms 1.
 */
void parameters_fill(const struct parameter *p, uint64_t seed, float *values);

/* What those normal numbers are drawn from, for devices that draw them themselves. */
uint64_t parameters_key(const struct parameter *p, uint64_t seed);

#endif

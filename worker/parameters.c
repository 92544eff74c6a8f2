#include "worker/parameters.h"

#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "matrix/text.h"
#include "worker/round.h"

#define INIT_STD 0.02f

/* What a name is completed from while the list is built. */
struct builder {
    struct parameters *out;
    int capacity;
    float residual_std;
    int64_t vocab_multiple;
};

/* `padded` ≥ `rows`: as it lies in memory. */
static struct parameter *add(struct builder *b, int64_t rows, int64_t padded,
        int64_t columns, const char *format, int layer) {
    struct parameters *p = b->out;
    if (p->count == b->capacity) {
        b->capacity = b->capacity ? 2 * b->capacity : 64;
        p->items = text_reallocate(p->items, (size_t)b->capacity * sizeof *p->items);
    }
    struct parameter *it = &p->items[p->count++];
    *it = (struct parameter){.rank = columns ? 2 : 1,
            .size = {rows, columns},
            .rows = padded,
            .offset = p->elements,
            .count = columns ? rows * columns : rows,
            .decay = columns != 0,
            .init_std = columns ? INIT_STD : 0};
    snprintf(it->name, sizeof it->name, "%s", format);
    const char *hole = strchr(format, '#');
    if (hole) {
        snprintf(it->name, sizeof it->name, "%.*s%d%s", (int)(hole - format), format,
                layer, hole + 1);
    }
    p->elements += round_up(columns ? padded * columns : padded, PARAMETER_ALIGN);
    p->trained += it->count;
    return it;
}

/* '#' in a name stands for the layer. */
static void norm(struct builder *b, int64_t channels, const char *name, int layer) {
    add(b, channels, channels, 0, name, layer)->init_value = 1;
}

static void bias(struct builder *b, int64_t size, const char *name, int layer) {
    add(b, size, size, 0, name, layer);
}

static void matrix(
        struct builder *b, int64_t out, int64_t in, const char *name, int layer) {
    add(b, out, out, in, name, layer);
}

/* A table of the vocabulary. */
static void table(
        struct builder *b, int64_t vocab, int64_t channels, const char *name) {
    add(b, vocab, round_up(vocab, b->vocab_multiple), channels, name, 0);
}

static void into_residual(
        struct builder *b, int64_t out, int64_t in, const char *name, int layer) {
    add(b, out, out, in, name, layer)->init_std = b->residual_std;
}

static void gpt_block(struct builder *b, int64_t c, int64_t qkv, int64_t ff, int l) {
    norm(b, c, "transformer.h.#.ln_1.weight", l);
    bias(b, c, "transformer.h.#.ln_1.bias", l);
    matrix(b, qkv, c, "transformer.h.#.attn.c_attn.weight", l);
    bias(b, qkv, "transformer.h.#.attn.c_attn.bias", l);
    into_residual(b, c, c, "transformer.h.#.attn.c_proj.weight", l);
    bias(b, c, "transformer.h.#.attn.c_proj.bias", l);
    norm(b, c, "transformer.h.#.ln_2.weight", l);
    bias(b, c, "transformer.h.#.ln_2.bias", l);
    matrix(b, ff, c, "transformer.h.#.mlp.c_fc.weight", l);
    bias(b, ff, "transformer.h.#.mlp.c_fc.bias", l);
    into_residual(b, c, ff, "transformer.h.#.mlp.c_proj.weight", l);
    bias(b, c, "transformer.h.#.mlp.c_proj.bias", l);
}

static void llama_block(struct builder *b, int64_t c, int64_t qkv, int64_t ff, int l) {
    norm(b, c, "model.layers.#.input_layernorm.weight", l);
    matrix(b, qkv, c, "model.layers.#.self_attn.qkv_proj.weight", l);
    into_residual(b, c, c, "model.layers.#.self_attn.o_proj.weight", l);
    norm(b, c, "model.layers.#.post_attention_layernorm.weight", l);
    matrix(b, 2 * ff, c, "model.layers.#.mlp.gate_up_proj.weight", l);
    into_residual(b, c, ff, "model.layers.#.mlp.down_proj.weight", l);
}

void parameters_init(struct parameters *p, const struct params *params, int64_t vocab,
        int64_t vocab_multiple) {
    *p = (struct parameters){0};
    int layers = (int)params_integer(params, PARAM_LAYERS);
    int64_t c = params_integer(params, PARAM_D_MODEL);
    int64_t heads = params_integer(params, PARAM_HEADS);
    int64_t qkv = (heads + 2 * params_kv_heads(params)) * (c / heads);
    int64_t ff = params_d_ff(params);
    bool gpt = params_integer(params, PARAM_ARCH) == ARCH_GPT;
    struct builder b = {p, 0, INIT_STD / sqrtf(2.0f * (float)layers), vocab_multiple};
    if (gpt) {
        table(&b, vocab, c, "transformer.wte.weight");
        matrix(&b, params_integer(params, PARAM_SEQ_LEN), c, "transformer.wpe.weight",
                0);
    } else {
        table(&b, vocab, c, "model.embed_tokens.weight");
    }
    for (int l = 0; l < layers; l++) {
        (gpt ? gpt_block : llama_block)(&b, c, qkv, ff, l);
    }
    if (gpt) {
        norm(&b, c, "transformer.ln_f.weight", 0);
        bias(&b, c, "transformer.ln_f.bias", 0);
    } else {
        norm(&b, c, "model.norm.weight", 0);
        table(&b, vocab, c, "lm_head.weight");
    }
    p->owned = p->elements;
}

void parameters_pad(struct parameters *p, int64_t unit) {
    p->elements = round_up(p->elements, unit);
}

void parameters_finish(struct parameters *p) {
    free(p->items);
    *p = (struct parameters){0};
}

int parameters_find(const struct parameters *p, const char *name) {
    for (int i = 0; i < p->count; i++) {
        if (!strcmp(p->items[i].name, name)) {
            return i;
        }
    }
    return -1;
}

/* splitmix64's output function (Steele, Lea & Flood): value `n` of the sequence `key`.
 */
static uint64_t random_at(uint64_t key, uint64_t n) {
    uint64_t z = key + (n + 1) * UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

static uint64_t key_of(const char *name, uint64_t seed) {
    uint64_t hash = UINT64_C(0xcbf29ce484222325); // FNV-1a
    for (; *name; name++) {
        hash = (hash ^ (unsigned char)*name) * UINT64_C(0x100000001b3);
    }
    return random_at(hash, random_at(seed, 0));
}

uint64_t parameters_key(const struct parameter *p, uint64_t seed) {
    return key_of(p->name, seed);
}

void parameters_fill(const struct parameter *p, uint64_t seed, float *values) {
    const double tau = 6.283185307179586;
    uint64_t key = parameters_key(p, seed);
    if (p->init_std == 0) {
        for (int64_t i = 0; i < p->count; i++) {
            values[i] = p->init_value;
        }
        return;
    }
    for (int64_t i = 0; i < p->count; i += 2) { // Box and Muller: two at a time
        double u = ((double)(random_at(key, (uint64_t)i) >> 11) + 1) * 0x1p-53;
        double v = (double)(random_at(key, (uint64_t)i + 1) >> 11) * 0x1p-53;
        double radius = p->init_std * sqrt(-2 * log(u));
        values[i] = (float)(radius * cos(tau * v));
        if (i + 1 < p->count) {
            values[i + 1] = (float)(radius * sin(tau * v));
        }
    }
}

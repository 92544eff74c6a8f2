#include "worker/model.h"

#include <assert.h>
#include <stdlib.h>

#include "worker/round.h"

/* Tensors of one block's parameters or of their gradients; biases ABSENT for llama. */
struct layer {
    int norm1, norm1_bias, qkv, qkv_bias, proj, proj_bias;
    int norm2, norm2_bias, up, up_bias, down, down_bias;
};

/* What a block's backward reads; ABSENT: not kept, declared again when needed. */
struct block {
    int input;               /* the residual stream entering, all adds done */
    int norm1, mean1, rstd1; /* [N, C], [N], [N] */
    int qkv;                 /* [N, (H + 2G)·D] */
    int mixed, mixed_saved;  /* attention's output [N, C] and what it keeps */
    int middle;              /* the residual stream between attention and mlp */
    int norm2, mean2, rstd2;
    int hidden; /* gpt: [N, F]; llama: gate and up [N, 2F] */
    int active; /* [N, F] */
    int out;    /* [N, C], still to be added to `middle` */
};

struct builder {
    const struct shape *m;
    const struct parameters *parameters;
    struct program *p;
    int64_t qkv_width;
};

enum { GPT_FIRST_BLOCK = 2, GPT_BLOCK = 12, LLAMA_FIRST_BLOCK = 1, LLAMA_BLOCK = 6 };

static struct layer layer_of(const struct builder *b, const int *table, int64_t l) {
    if (b->m->gpt) {
        const int *t = table + GPT_FIRST_BLOCK + l * GPT_BLOCK;
        return (struct layer){t[0], t[1], t[2], t[3], t[4], t[5], t[6], t[7], t[8],
                t[9], t[10], t[11]};
    }
    const int *t = table + LLAMA_FIRST_BLOCK + l * LLAMA_BLOCK;
    return (struct layer){.norm1 = t[0],
            .qkv = t[1],
            .proj = t[2],
            .norm2 = t[3],
            .up = t[4],
            .down = t[5]};
}

/* -- small pieces --------------------------------------------------------------------
 */

static int activation(struct builder *b, const char *name, int64_t columns) {
    return program_tensor(b->p, OWNER_ACTIVATIONS, name,
            program_shape(b->m->type, b->m->rows, columns, 0, 0));
}

static int statistic(struct builder *b, const char *name) {
    return program_tensor(b->p, OWNER_ACTIVATIONS, name,
            program_shape(b->m->exact, b->m->rows, 0, 0, 0));
}

/* An activation [N, heads × D] as attention sees it. */
static int per_head(struct builder *b, int id, int64_t heads) {
    const struct shape *m = b->m;
    return program_view(b->p, id, 0,
            program_shape(
                    m->type, m->batch, m->seq_len, heads, m->attention_shape.head_dim));
}

static int packed_heads(struct builder *b, int qkv) {
    return per_head(b, qkv, b->m->heads + 2 * b->m->kv_heads);
}

static int matmul_scratch(struct builder *b, int64_t n, int64_t k) {
    const struct shape *m = b->m;
    return program_scratch(
            b->p, m->kernels->matmul_scratch(m->rows, n, k, m->type, m->threads));
}

static int64_t columns_of(const struct builder *b, int id) {
    return b->p->tensors[id].tensor.size[1];
}

static int matmul(struct builder *b, const char *name, int x, int weight, int bias) {
    const struct tensor *w = &b->p->tensors[weight].tensor;
    int64_t n = w->size[0], k = w->size[1];
    int out = activation(b, name, n);
    program_add(b->p, OP_MATMUL_FORWARD,
            (struct operands){{out, matmul_scratch(b, n, k), x, weight, bias}});
    return out;
}

static void matmul_backward_weight(
        struct builder *b, int dweight, int dbias, int dout, int x) {
    int scratch = matmul_scratch(b, columns_of(b, dout), columns_of(b, x));
    program_add(b->p, OP_MATMUL_BACKWARD_WEIGHT,
            (struct operands){{dweight, dbias, scratch, dout, x}})
            ->accumulate = ACCUMULATE_AFTER_FIRST;
}

static int matmul_backward_input(
        struct builder *b, const char *name, int dout, int weight) {
    int64_t k = columns_of(b, weight);
    int dx = activation(b, name, k);
    int scratch = matmul_scratch(b, columns_of(b, dout), k);
    program_add(b->p, OP_MATMUL_BACKWARD_INPUT,
            (struct operands){{dx, scratch, dout, weight}});
    return dx;
}

/* out = norm(x), or with `y` norm(sum = x + y). */
static void norm(struct builder *b, int out, int mean, int rstd, int sum, int x, int y,
        int weight, int bias) {
    if (b->m->gpt) {
        program_add(b->p, OP_LAYERNORM_FORWARD,
                (struct operands){{out, mean, rstd, sum, x, y, weight, bias}});
    } else {
        program_add(b->p, OP_RMSNORM_FORWARD,
                (struct operands){{out, rstd, sum, x, y, weight}});
    }
}

/* dx = what reaches the norm's input through it, plus `dsum`. */
static void norm_backward(struct builder *b, int dx, int dsum, int dweight, int dbias,
        int dout, int x, int mean, int rstd, int weight) {
    const struct shape *m = b->m;
    int scratch = program_scratch(
            b->p, m->kernels->norm_scratch(m->rows, m->channels, m->threads));
    struct op *op = m->gpt ? program_add(b->p, OP_LAYERNORM_BACKWARD,
                                     (struct operands){{dx, dweight, dbias, scratch,
                                             dsum, dout, x, mean, rstd, weight}})
                           : program_add(b->p, OP_RMSNORM_BACKWARD,
                                     (struct operands){{dx, dweight, scratch, dsum,
                                             dout, x, rstd, weight}});
    op->accumulate = ACCUMULATE_AFTER_FIRST;
}

static int activate(struct builder *b, int hidden) {
    int active = activation(b, "active", b->m->d_ff);
    program_add(b->p, b->m->gpt ? OP_GELU_FORWARD : OP_SWIGLU_FORWARD,
            (struct operands){{active, hidden}});
    return active;
}

/* -- a block -------------------------------------------------------------------------
 */

/* How a block's forward is declared. */
struct pass {
    bool keep;       /* backward wants statistics and attention's state */
    bool in_place;   /* residual adds may overwrite what they add to … */
    bool input_kept; /* … but not the block's input, which a later pass starts from */
    bool skip_out;   /* the mlp's output is not wanted */
};

static void declare_attention(struct builder *b, const struct pass *pass, int x, int y,
        const struct layer *w, struct block *s) {
    const struct shape *m = b->m;
    s->norm1 = activation(b, "norm1", m->channels);
    s->mean1 = pass->keep && m->gpt ? statistic(b, "mean1") : ABSENT;
    s->rstd1 = pass->keep ? statistic(b, "rstd1") : ABSENT;
    int sum = ABSENT;
    if (y != ABSENT) {
        sum = pass->in_place ? x : activation(b, "residual", m->channels);
    }
    s->input = sum != ABSENT ? sum : x;
    norm(b, s->norm1, s->mean1, s->rstd1, sum, x, y, w->norm1, w->norm1_bias);
    s->qkv = matmul(b, "qkv", s->norm1, w->qkv, w->qkv_bias);
    int packed = packed_heads(b, s->qkv);
    if (!m->gpt) {
        program_add(b->p, OP_ROPE_FORWARD, (struct operands){{packed}});
    }
    s->mixed = activation(b, "mixed", m->channels);
    s->mixed_saved = ABSENT;
    if (pass->keep && m->attention_bytes.saved) {
        s->mixed_saved = program_tensor(b->p, OWNER_ACTIVATIONS, "attention_saved",
                program_shape(DTYPE_U8, (int64_t)m->attention_bytes.saved, 0, 0, 0));
    }
    int scratch = program_scratch(b->p, m->attention_bytes.forward_scratch);
    program_add(b->p, OP_ATTENTION_FORWARD,
            (struct operands){{per_head(b, s->mixed, m->heads), s->mixed_saved, scratch,
                    packed}});
}

static void declare_mlp(struct builder *b, const struct pass *pass,
        const struct layer *w, struct block *s) {
    const struct shape *m = b->m;
    int projected = matmul(b, "projected", s->mixed, w->proj, w->proj_bias);
    s->norm2 = activation(b, "norm2", m->channels);
    s->mean2 = pass->keep && m->gpt ? statistic(b, "mean2") : ABSENT;
    s->rstd2 = pass->keep ? statistic(b, "rstd2") : ABSENT;
    bool in_place = pass->in_place && !pass->input_kept;
    s->middle = in_place ? s->input : activation(b, "middle", m->channels);
    norm(b, s->norm2, s->mean2, s->rstd2, s->middle, s->input, projected, w->norm2,
            w->norm2_bias);
    s->hidden = matmul(b, "hidden", s->norm2, w->up, w->up_bias);
    s->active = activate(b, s->hidden);
    s->out = pass->skip_out ? ABSENT
                            : matmul(b, "out", s->active, w->down, w->down_bias);
}

/* Block `l` over x + y, y ABSENT: over x. Notes in `s` what `recompute` lets live. */
static void declare_block(struct builder *b, int64_t l, const struct pass *pass, int x,
        int y, struct block *s) {
    struct layer w = layer_of(b, b->p->weight, l);
    declare_attention(b, pass, x, y, &w, s);
    declare_mlp(b, pass, &w, s);
    if (b->m->recompute >= RECOMPUTE_ACT) {
        s->active = ABSENT;
    }
    if (b->m->recompute >= RECOMPUTE_ACT_NORM) {
        s->norm1 = s->norm2 = ABSENT;
    }
}

/* A norm's output again, from what it normalised. */
static int norm_again(struct builder *b, int x, int weight, int bias) {
    int out = activation(b, "norm_again", b->m->channels);
    norm(b, out, ABSENT, ABSENT, ABSENT, x, ABSENT, weight, bias);
    return out;
}

static void declare_mlp_backward(struct builder *b, const struct layer *w,
        const struct layer *d, const struct block *s, int dresidual) {
    struct program *p = b->p;
    // Weight gradients come first: what they read makes room for what follows.
    int active = s->active != ABSENT ? s->active : activate(b, s->hidden);
    matmul_backward_weight(b, d->down, d->down_bias, dresidual, active);
    int dactive = matmul_backward_input(b, "dactive", dresidual, w->down);
    int dhidden = b->m->gpt ? dactive : s->hidden;
    program_add(p, b->m->gpt ? OP_GELU_BACKWARD : OP_SWIGLU_BACKWARD,
            (struct operands){{dhidden, dactive, s->hidden}});
    int norm2 = s->norm2 != ABSENT ? s->norm2
                                   : norm_again(b, s->middle, w->norm2, w->norm2_bias);
    matmul_backward_weight(b, d->up, d->up_bias, dhidden, norm2);
    int dnorm2 = matmul_backward_input(b, "dnorm2", dhidden, w->up);
    norm_backward(b, dresidual, dresidual, d->norm2, d->norm2_bias, dnorm2, s->middle,
            s->mean2, s->rstd2, w->norm2);
}

static void declare_attention_backward(struct builder *b, const struct layer *w,
        const struct layer *d, const struct block *s, int dresidual) {
    const struct shape *m = b->m;
    struct program *p = b->p;
    matmul_backward_weight(b, d->proj, d->proj_bias, dresidual, s->mixed);
    int dmixed = matmul_backward_input(b, "dmixed", dresidual, w->proj);
    int dqkv = activation(b, "dqkv", b->qkv_width);
    int packed = packed_heads(b, dqkv);
    int scratch = program_scratch(p, m->attention_bytes.backward_scratch);
    program_add(p, OP_ATTENTION_BACKWARD,
            (struct operands){{packed, scratch, per_head(b, dmixed, m->heads),
                    per_head(b, s->mixed, m->heads), packed_heads(b, s->qkv),
                    s->mixed_saved}});
    if (!m->gpt) {
        program_add(p, OP_ROPE_BACKWARD, (struct operands){{packed}});
    }
    int norm1 = s->norm1 != ABSENT ? s->norm1
                                   : norm_again(b, s->input, w->norm1, w->norm1_bias);
    matmul_backward_weight(b, d->qkv, d->qkv_bias, dqkv, norm1);
    int dnorm1 = matmul_backward_input(b, "dnorm1", dqkv, w->qkv);
    norm_backward(b, dresidual, dresidual, d->norm1, d->norm1_bias, dnorm1, s->input,
            s->mean1, s->rstd1, w->norm1);
}

static void declare_block_backward(
        struct builder *b, int64_t l, const struct block *s, int dresidual) {
    struct layer w = layer_of(b, b->p->weight, l);
    struct layer d = layer_of(b, b->p->grad, l);
    declare_mlp_backward(b, &w, &d, s, dresidual);
    declare_attention_backward(b, &w, &d, s, dresidual);
}

/* -- the whole -----------------------------------------------------------------------
 */

/* Where the model's tail keeps what its backward reads. */
struct ends {
    int residual, normed, mean, rstd; /* of the final norm */
    int logits;
};

/* Tables of weights or gradients: the final norm, its bias, and the head. */
static struct layer tail_of(const struct builder *b, const int *table) {
    int last = b->parameters->count - 1;
    return b->m->gpt ? (struct layer){.norm1 = table[last - 1],
                               .norm1_bias = table[last],
                               .down = table[0]}
                     : (struct layer){.norm1 = table[last - 1], .down = table[last]};
}

static int declare_embedding(struct builder *b) {
    const struct shape *m = b->m;
    struct program *p = b->p;
    int residual = activation(b, "residual", m->channels);
    int cube = program_view(p, residual, 0,
            program_shape(m->type, m->batch, m->seq_len, m->channels, 0));
    int positions = m->gpt ? p->weight[1] : ABSENT;
    program_add(p, OP_EMBEDDING_FORWARD,
            (struct operands){{cube, p->tokens, p->weight[0], positions}});
    return residual;
}

/* All blocks' forward; on return the residual stream is x + y. */
static void declare_blocks(
        struct builder *b, bool training, struct block *blocks, int *x, int *y) {
    const struct shape *m = b->m;
    bool keep = training && !m->segment;
    for (int64_t l = 0; l < m->layers; l++) {
        struct pass pass = {.keep = keep,
                .in_place = !keep,
                .input_kept = training && m->segment && l % m->segment == 0};
        declare_block(b, l, &pass, *x, *y, &blocks[l]);
        *x = blocks[l].middle;
        *y = blocks[l].out;
    }
}

static void declare_head(
        struct builder *b, bool training, int x, int y, struct ends *out) {
    const struct shape *m = b->m;
    struct program *p = b->p;
    struct layer w = tail_of(b, p->weight);
    bool in_place = !training || m->segment;
    out->normed = activation(b, "normed", m->channels);
    out->mean = training && m->gpt ? statistic(b, "mean") : ABSENT;
    out->rstd = training ? statistic(b, "rstd") : ABSENT;
    out->residual = in_place ? x : activation(b, "residual", m->channels);
    norm(b, out->normed, out->mean, out->rstd, out->residual, x, y, w.norm1,
            w.norm1_bias);
    out->logits = matmul(b, "logits", out->normed, w.down, ABSENT);
    int losses = statistic(b, "losses"), correct = statistic(b, "correct");
    struct op *op = program_add(p, OP_CLASSIFIER,
            (struct operands){{losses, correct, out->logits, p->targets, p->control}});
    double micro_rows = (double)m->rows * (double)m->accumulate;
    op->gradient = training;
    op->factor = (float)(1 / (micro_rows * (double)m->world));
    op = program_add(p, OP_LOSS_SUM, (struct operands){{p->control, losses, correct}});
    op->factor = training ? (float)(1 / micro_rows) : 1;
    op->accumulate = training ? ACCUMULATE_AFTER_FIRST : OVERWRITE;
}

/* Returns the gradient of the residual stream. */
static int declare_head_backward(struct builder *b, const struct ends *ends) {
    struct layer w = tail_of(b, b->p->weight), d = tail_of(b, b->p->grad);
    matmul_backward_weight(b, d.down, ABSENT, ends->logits, ends->normed);
    if (b->m->gpt) {
        // The positions' gradient, before the embedding adds to it.
        program_add(b->p, OP_ZERO, (struct operands){{b->p->grad[1]}})->when =
                WHEN_FIRST_MICRO;
    }
    int dnormed = matmul_backward_input(b, "dnormed", ends->logits, w.down);
    int dresidual = activation(b, "dresidual", b->m->channels);
    norm_backward(b, dresidual, ABSENT, d.norm1, d.norm1_bias, dnormed, ends->residual,
            ends->mean, ends->rstd, w.norm1);
    return dresidual;
}

/* The segment that ends with block `last` again, keeping what backward needs. */
static void declare_segment_again(
        struct builder *b, int64_t first, int64_t last, struct block *blocks) {
    int x = blocks[first].input, y = ABSENT;
    for (int64_t l = first; l <= last; l++) {
        struct pass pass = {.keep = true, .skip_out = l == last};
        declare_block(b, l, &pass, x, y, &blocks[l]);
        x = blocks[l].middle;
        y = blocks[l].out;
    }
}

static void declare_blocks_backward(
        struct builder *b, struct block *blocks, int dresidual) {
    const struct shape *m = b->m;
    int64_t ready_from = m->segment ? m->layers : 0; // blocks whose state is at hand
    for (int64_t l = m->layers - 1; l >= 0; l--) {
        if (l < ready_from) {
            ready_from = l - l % m->segment;
            declare_segment_again(b, ready_from, l, blocks);
        }
        declare_block_backward(b, l, &blocks[l], dresidual);
    }
}

static void declare_embedding_backward(struct builder *b, int dresidual) {
    const struct shape *m = b->m;
    struct program *p = b->p;
    int cube = program_view(p, dresidual, 0,
            program_shape(m->type, m->batch, m->seq_len, m->channels, 0));
    int scratch = program_scratch(
            p, m->kernels->embedding_scratch(m->rows, m->vocab, m->channels));
    // The tied head has already written its share of the token table's gradient, and
    // one flag tells the kernel to add to both tables.
    program_add(p, OP_EMBEDDING_BACKWARD,
            (struct operands){{p->grad[0], m->gpt ? p->grad[1] : ABSENT, scratch, cube,
                    p->tokens}})
            ->accumulate = m->gpt ? ACCUMULATE : ACCUMULATE_AFTER_FIRST;
}

/* -- what outlives the step ----------------------------------------------------------
 */

/* Views of an arena, one per parameter. */
static int *views(const struct builder *b, int arena) {
    const struct parameters *all = b->parameters;
    enum dtype type = b->p->tensors[arena].tensor.type;
    int *table = text_allocate((size_t)all->count * sizeof *table);
    for (int i = 0; i < all->count; i++) {
        const struct parameter *it = &all->items[i];
        table[i] = program_view(b->p, arena, it->offset * (int64_t)dtype_size(type),
                program_shape(type, it->rows, it->size[1], 0, 0));
    }
    return table;
}

static int arena(const struct builder *b, enum memory_owner owner, const char *name,
        enum dtype type, int64_t elements, int64_t *offset) {
    struct tensor shape = program_shape(type, elements, 0, 0, 0);
    int id = program_fixed(b->p, owner, name, shape, *offset);
    *offset += (int64_t)tensor_bytes(&shape);
    return id;
}

/* Which parameters decay and, where not all are this rank's, which chunks are. */
static void declare_maps(const struct builder *b, int64_t behind) {
    const struct parameters *all = b->parameters;
    int64_t blocks = round_up(all->elements, ADAMW_BLOCK) / ADAMW_BLOCK;
    int64_t at = round_up(behind, MEMORY_ALIGN);
    b->p->decayed = program_fixed(b->p, OWNER_LIBRARY, "decayed",
            program_shape(DTYPE_U8, blocks, 0, 0, 0), at);
    if (all->owned < all->elements) {
        at = round_up(at + blocks, MEMORY_ALIGN);
        b->p->owned = program_fixed(b->p, OWNER_LIBRARY, "owned",
                program_shape(DTYPE_I32, all->owned / NORM_CHUNK, 0, 0, 0), at);
    }
}

/* Batches of all micro-steps lie behind the two control blocks, training's first, and
 * training's maps behind them. */
static void declare_staging(const struct builder *b, bool training) {
    const struct shape *m = b->m;
    struct program *p = b->p;
    struct tensor control = program_shape(m->exact, CONTROL_COUNT, 0, 0, 0);
    p->control = program_fixed(
            p, OWNER_LIBRARY, "control", control, training ? 0 : (int64_t)MEMORY_ALIGN);
    struct tensor all = program_shape(DTYPE_I32, m->accumulate, m->rows, 0, 0);
    int tokens = program_fixed(p, OWNER_LIBRARY, "tokens", all, 2 * MEMORY_ALIGN);
    int targets = program_fixed(p, OWNER_LIBRARY, "targets", all,
            2 * MEMORY_ALIGN + (int64_t)tensor_bytes(&all));
    p->tokens = program_view(
            p, tokens, 0, program_shape(DTYPE_I32, m->batch, m->seq_len, 0, 0));
    p->targets =
            program_view(p, targets, 0, program_shape(DTYPE_I32, m->rows, 0, 0, 0));
    if (training) {
        declare_maps(b, 2 * MEMORY_ALIGN + 2 * (int64_t)tensor_bytes(&all));
    }
}

static void declare_state(const struct builder *b, bool training) {
    const struct shape *m = b->m;
    struct program *p = b->p;
    int64_t all = b->parameters->elements, owned = b->parameters->owned, offset = 0;
    p->weights = arena(b, OWNER_PARAMS, "weights", m->type, all, &offset);
    p->weight = views(b, p->weights);
    declare_staging(b, training);
    if (!training) {
        return;
    }
    offset = 0;
    p->grads = arena(b, OWNER_GRADS, "gradients", m->grad, all, &offset);
    p->grad = views(b, p->grads);
    offset = 0;
    p->master = m->type == m->exact
                        ? p->weights
                        : arena(b, OWNER_OPTIMIZER, "master", m->exact, owned, &offset);
    p->first_moment =
            arena(b, OWNER_OPTIMIZER, "first_moment", m->exact, owned, &offset);
    p->second_moment =
            arena(b, OWNER_OPTIMIZER, "second_moment", m->exact, owned, &offset);
}

static struct builder builder_of(
        const struct shape *s, const struct parameters *parameters, struct program *p) {
    return (struct builder){.m = s,
            .parameters = parameters,
            .p = p,
            .qkv_width = (s->heads + 2 * s->kv_heads) * s->attention_shape.head_dim};
}

void model_declare_training(
        const struct shape *s, const struct parameters *parameters, struct program *p) {
    struct builder b = builder_of(s, parameters, p);
    struct block *blocks = text_allocate_zeroed((size_t)s->layers, sizeof *blocks);
    struct ends ends;
    declare_state(&b, true);
    p->phase = PHASE_FORWARD;
    int x = declare_embedding(&b), y = ABSENT;
    declare_blocks(&b, true, blocks, &x, &y);
    declare_head(&b, true, x, y, &ends);
    p->phase = PHASE_BACKWARD;
    int dresidual = declare_head_backward(&b, &ends);
    declare_blocks_backward(&b, blocks, dresidual);
    declare_embedding_backward(&b, dresidual);
    free(blocks);
}

void model_declare_evaluation(
        const struct shape *s, const struct parameters *parameters, struct program *p) {
    struct builder b = builder_of(s, parameters, p);
    struct block *blocks = text_allocate_zeroed((size_t)s->layers, sizeof *blocks);
    struct ends ends;
    declare_state(&b, false);
    p->phase = PHASE_FORWARD;
    int x = declare_embedding(&b), y = ABSENT;
    declare_blocks(&b, false, blocks, &x, &y);
    declare_head(&b, false, x, y, &ends);
    free(blocks);
}

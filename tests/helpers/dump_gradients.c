/*
 * dump_gradients OUT.safetensors [table=cpu|reference] [steps=N] [key=value …]
 *
 * What a cell computes, for comparison with another implementation. `key=value` are
 * parameters of the matrix language over the small defaults of tests/helpers/cell.h;
 * the batch is that header's number 0, the same for every step. Writes these tensors:
 *
 *   tokens  targets   I32 [accumulate × batch, seq_len]
 *   loss              F64 [1]: mean over all tokens, before any update
 *   param/NAME        F32: initial weights
 *   grad/NAME         F32: gradient of that loss, unclipped, all micro-steps
 *   lrs  losses  grad_norms   F64 [N]: learning rate, loss before and gradient norm
 *                     (before clipping) of each of N training steps from those weights
 *   final/NAME        F32: weights after them (only where N > 0)
 *
 * NAME and layout are ours (worker/parameters.h): Hugging Face's names, matrices
 * [out, in], Llama's q/k/v and gate/up stacked into qkv_proj and gate_up_proj. The
 * file's metadata has every parameter of the cell as text. AdamW: eps 1e-8; decay on
 * tensors of two dimensions; gradients clipped to grad_clip by their whole norm.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/helpers/cell.h"
#include "worker/optimizer.h"
#include "worker/safetensors.h"

struct dump {
    struct named_tensor *items;
    int count;
};

/* Takes `data`. */
static void add(struct dump *d, const char *prefix, const char *name, enum dtype type,
        int64_t rows, int64_t columns, void *data) {
    d->items = text_reallocate(d->items, (size_t)(d->count + 1) * sizeof *d->items);
    struct named_tensor *it = &d->items[d->count++];
    snprintf(it->name, sizeof it->name, "%s%s", prefix, name);
    it->tensor = (struct tensor){.data = data,
            .type = type,
            .rank = columns ? 2 : 1,
            .size = {rows, columns}};
}

/* Takes `values`. */
static void add_parameter(
        struct dump *d, const char *prefix, const struct parameter *p, double *values) {
    float *rounded = text_allocate((size_t)p->count * sizeof *rounded);
    for (int64_t i = 0; i < p->count; i++) {
        rounded[i] = (float)values[i];
    }
    free(values);
    add(d, prefix, p->name, DTYPE_F32, p->size[0], p->size[1], rounded);
}

static void add_gradients(struct dump *d, struct cell *c) {
    const struct parameters *all = engine_parameters(c->engine);
    double *loss = text_allocate(sizeof *loss);
    for (int i = 0; i < all->count; i++) {
        add_parameter(d, "param/", &all->items[i], cell_parameter(c, i));
    }
    *loss = cell_step(c, 0, 0).loss; // lr 0: weights stay as they are
    add(d, "", "loss", DTYPE_F64, 1, 0, loss);
    for (int i = 0; i < all->count; i++) {
        add_parameter(d, "grad/", &all->items[i], cell_gradient(c, i));
    }
}

static void add_training(struct dump *d, struct cell *c, int steps) {
    const struct parameters *all = engine_parameters(c->engine);
    double *lrs = text_allocate_zeroed((size_t)steps, sizeof *lrs);
    double *losses = text_allocate_zeroed((size_t)steps, sizeof *losses);
    double *norms = text_allocate_zeroed((size_t)steps, sizeof *norms);
    for (int i = 0; i < steps; i++) {
        lrs[i] = optimizer_lr(&c->params, i, steps);
        struct engine_step step = cell_step(c, 0, lrs[i]);
        losses[i] = step.loss;
        norms[i] = step.grad_norm;
    }
    add(d, "", "lrs", DTYPE_F64, steps, 0, lrs);
    add(d, "", "losses", DTYPE_F64, steps, 0, losses);
    add(d, "", "grad_norms", DTYPE_F64, steps, 0, norms);
    for (int i = 0; i < all->count; i++) {
        add_parameter(d, "final/", &all->items[i], cell_parameter(c, i));
    }
}

static void add_batch(struct dump *d, struct cell *c) {
    int64_t length = params_integer(&c->params, PARAM_SEQ_LEN);
    size_t bytes = (size_t)c->tokens * sizeof *c->inputs;
    int32_t *tokens = text_allocate(bytes), *targets = text_allocate(bytes);
    cell_batch(c, 0);
    memcpy(tokens, c->inputs, bytes);
    memcpy(targets, c->targets, bytes);
    add(d, "", "tokens", DTYPE_I32, c->tokens / length, length, tokens);
    add(d, "", "targets", DTYPE_I32, c->tokens / length, length, targets);
}

static json_t *metadata_of(const struct params *params) {
    json_t *metadata = json_object();
    for (int i = 0; i < PARAM_COUNT; i++) {
        struct text value = {0};
        params_show(params, (enum param)i, &value);
        json_object_set_new(
                metadata, axes_get((enum param)i)->name, json_string(text_get(&value)));
        text_finish(&value);
    }
    return metadata;
}

int main(int argc, char **argv) {
    const struct kernels *kernels = kernels_cpu();
    struct text words = {0}, err = {0};
    struct dump dump = {0};
    struct cell cell;
    int steps = 0;
    if (argc < 2 || strchr(argv[1], '=')) {
        fputs("usage: dump_gradients OUT.safetensors [table=cpu|reference|cuda] "
              "[steps=N] "
              "[key=value ...]\n",
                stderr);
        return 2;
    }
    for (int i = 2; i < argc; i++) {
        if (!strcmp(argv[i], "table=reference")) {
            kernels = kernels_reference();
#ifdef LM_HAS_CUDA
        } else if (!strcmp(argv[i], "table=cuda")) {
            kernels = kernels_cuda();
#endif
        } else if (!strncmp(argv[i], "steps=", 6)) {
            steps = (int)strtol(argv[i] + 6, NULL, 10);
            if (steps > 0) {
                text_addf(&words, "%s ", argv[i]);
            }
        } else if (strcmp(argv[i], "table=cpu") != 0) {
            text_addf(&words, "%s ", argv[i]);
        }
    }
    cell_create(&cell, kernels, text_get(&words));
    add_batch(&dump, &cell);
    add_gradients(&dump, &cell);
    cell_destroy(&cell);
    cell_create(&cell, kernels, text_get(&words)); // with fresh moments
    if (steps > 0) {
        add_training(&dump, &cell, steps);
    }
    json_t *metadata = metadata_of(&cell.params);
    bool good = safetensors_write(argv[1], dump.items, dump.count, metadata, &err);
    if (!good) {
        fprintf(stderr, "dump_gradients: %s\n", text_get(&err));
    }
    json_decref(metadata);
    cell_destroy(&cell);
    for (int i = 0; i < dump.count; i++) {
        free(dump.items[i].tensor.data);
    }
    free(dump.items);
    text_finish(&words);
    text_finish(&err);
    return good ? 0 : 1;
}

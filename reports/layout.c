#include "reports/layout.h"

#include <math.h>
#include <stdlib.h>

#include "matrix/text.h"

#define ALIGN 128 /* elements: every parameter starts on such an offset */

static double round_up(double n, double to) {
    return ceil(n / to) * to;
}

static void add(struct layout *l, double elements) {
    l->count++;
    l->offsets =
            text_reallocate(l->offsets, ((size_t)l->count + 1) * sizeof *l->offsets);
    l->offsets[l->count] = l->offsets[l->count - 1] + round_up(elements, ALIGN);
}

static void add_all(struct layout *l, const double *elements, int count) {
    for (int i = 0; i < count; i++) {
        add(l, elements[i]);
    }
}

/* A block's parameters; how many. */
static int block_of(const struct params *p, double sizes[12]) {
    double c = (double)params_integer(p, PARAM_D_MODEL);
    double heads = (double)params_integer(p, PARAM_HEADS);
    double qkv = (heads + 2 * (double)params_kv_heads(p)) * floor(c / heads);
    double ff = (double)params_d_ff(p);
    const double gpt[] = {c, c, qkv * c, qkv, c * c, c, c, c, ff * c, ff, c * ff, c};
    const double llama[] = {c, qkv * c, c * c, c, 2 * ff * c, c * ff};
    bool is_gpt = params_integer(p, PARAM_ARCH) == ARCH_GPT;
    int count = is_gpt ? 12 : 6;
    for (int i = 0; i < count; i++) {
        sizes[i] = is_gpt ? gpt[i] : llama[i];
    }
    return count;
}

static double find_vocab(const struct layout *l, const struct params *p, double vocab,
        double trained, double rest) {
    if (params_integer(p, PARAM_VOCAB) > 0) {
        return (double)params_integer(p, PARAM_VOCAB);
    }
    double left = (trained - rest) / (l->tied ? 1 : 2) / l->channels;
    return vocab > 0 ? vocab : left > 0 ? floor(left) : 0;
}

void layout_init(
        struct layout *l, const struct params *p, double vocab, double trained) {
    double block[12], rest;
    int each = block_of(p, block), layers = (int)params_integer(p, PARAM_LAYERS);
    bool gpt = params_integer(p, PARAM_ARCH) == ARCH_GPT;
    double c = (double)params_integer(p, PARAM_D_MODEL);
    double positions = gpt ? c * (double)params_integer(p, PARAM_SEQ_LEN) : 0;
    *l = (struct layout){.offsets = text_allocate_zeroed(1, sizeof *l->offsets),
            .tables = gpt ? 2 : 1,
            .tied = gpt,
            .channels = c};
    rest = positions + (gpt ? 2 : 1) * c;
    for (int i = 0; i < each; i++) {
        rest += layers * block[i];
    }
    l->vocab = find_vocab(l, p, vocab, trained, rest);
    add(l, l->vocab * c);
    if (gpt) {
        add(l, positions);
    }
    for (int i = 0; i < layers; i++) {
        add_all(l, block, each);
    }
    add(l, c);
    add(l, gpt ? c : l->vocab * c);
}

void layout_finish(struct layout *l) {
    free(l->offsets);
    *l = (struct layout){0};
}

double layout_size(const struct layout *l, int parameter) {
    return l->offsets[parameter + 1] - l->offsets[parameter];
}

double layout_elements(const struct layout *l) {
    return l->offsets[l->count];
}

/* -- slices --------------------------------------------------------------------------
 */

/* The highest cut at `at` or below it; `*below` starts at a parameter beyond. */
static double cut_below(
        const struct layout *l, const struct layout_cut *c, double at, int *below) {
    if (c->unit > 1) {
        return floor(at / c->unit) * c->unit;
    }
    while (*below > 0 && l->offsets[*below] > at) {
        --*below;
    }
    return l->offsets[*below];
}

/* The lowest cut at `at` or above it. */
static double cut_above(const struct layout *l, const struct layout_cut *c, double at) {
    if (c->unit > 1) {
        return ceil(at / c->unit) * c->unit;
    }
    int i = 0;
    while (i < l->count && l->offsets[i] < at) {
        i++;
    }
    return l->offsets[i];
}

static void add_slice(struct layout_slices *s, double from, double to) {
    s->items = text_reallocate(s->items, ((size_t)s->count + 1) * sizeof *s->items);
    s->items[s->count++] = (struct layout_slice){from, to};
}

struct layout_slices layout_slice(
        const struct layout *l, const struct layout_cut *cut) {
    struct layout_slices s = {0};
    double from = l->offsets[cut->behind];
    double to = layout_elements(l);
    int below = l->count;
    to = cut->unit > 1 ? round_up(to, cut->unit) : to;
    while (to > from) {
        double least = s.count ? cut->least : fmin(cut->first, cut->least);
        double at = to - fmax(1, floor(least));
        double start = at <= from ? from : fmax(from, cut_below(l, cut, at, &below));
        if (start <= from && isfinite(cut->last)) {
            double middle = cut_above(l, cut, from + fmax(1, floor(cut->last)));
            if (middle < to && middle > from) {
                add_slice(&s, middle, to);
                to = middle;
            }
        }
        add_slice(&s, start, to);
        to = start;
    }
    return s;
}

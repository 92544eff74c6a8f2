/*
 * A model's parameters as a worker lays them out in an arena, and the slices in which
 * the arena travels: what a forecast needs of both. Pure arithmetic.
 */
#ifndef REPORTS_LAYOUT_H
#define REPORTS_LAYOUT_H

#include <stdbool.h>

#include "matrix/axes.h"

/* Elements of which every rank's shard of a slice is a multiple. */
#define LAYOUT_CHUNK 65536

struct layout {
    double *offsets; /* elements; `count` + 1 of them, the last is the end; owned */
    int count;
    int tables; /* how many of the first ones embeddings add to: tokens', positions' */
    bool tied;  /* the head computes with the tokens' table, too */
    double vocab, channels;
};

/*
 * Of the model of `p`. Its vocabulary: the parameter, else `vocab`, else what `trained`
 * elements in all leave to the tables; where that is not known, too, tables are empty.
 */
void layout_init(
        struct layout *l, const struct params *p, double vocab, double trained);
void layout_finish(struct layout *l); /* zeroed is fine */

double layout_size(const struct layout *l, int parameter);
double layout_elements(const struct layout *l);

/* Elements [from, to). */
struct layout_slice {
    double from, to;
};

/* In the order in which backward fills them: the arena's end comes first. */
struct layout_slices {
    struct layout_slice *items; /* owned */
    int count;
};

/* Where to cut. */
struct layout_cut {
    int behind;   /* parameters that stay out, at the front */
    double least; /* elements of a slice, or what is left */
    double first; /* of the first one, if less */
    double last;  /* of what is left, a slice of its own; INFINITY: none */
    double unit;  /* above 1: cuts lie on its multiples, to which the arena is padded;
                     else between parameters */
};

/* Free `items` afterwards. */
struct layout_slices layout_slice(const struct layout *l, const struct layout_cut *cut);

#endif

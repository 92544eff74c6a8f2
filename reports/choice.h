/*
 * A choice: one parameter that varies, and what each of its values changes, all else
 * equal. Values are compared in pairs of cells that agree in every other parameter, so
 * that a sweep over other axes cannot tilt the verdict.
 */
#ifndef REPORTS_CHOICE_H
#define REPORTS_CHOICE_H

#include <stdbool.h>
#include <stddef.h>

#include "reports/tally.h"

struct choice_value {
    const struct params *params;     /* of a cell that has this value */
    size_t cells;                    /* planned and not excluded */
    size_t ok;                       /* of them, those that count */
    size_t pairs;                    /* with the reference value */
    size_t faster, slower;           /* pairs beyond noise; the others are within it */
    size_t drifting;                 /* of these, pairs that drift might explain */
    struct stats speed, memory, ppl; /* ratios to the reference over the pairs */
};

/* One cell, beside its partner that has the reference value. */
struct choice_row {
    const struct tally *tally;
    const struct tally *partner; /* NULL where there is none that counts */
    bool repeated; /* the same cell stands before it, under another experiment's name */
};

struct choice {
    enum param axis;
    struct context with; /* parameters that always move with it, such as zipped ones */
    struct choice_value *values; /* ascending */
    size_t value_count;
    size_t reference;        /* index: what the others are compared with */
    size_t pairs;            /* over all values */
    size_t contexts;         /* sets of cells that differ in this parameter only */
    struct choice_row *rows; /* every cell that is not excluded, context by context */
    size_t row_count;
};

/*
 * `axis` must vary. Parameters that take a value of their own for each of its values
 * count as one choice with it: the first of them in the parameter table leads. Cells
 * with several ranks are paired with the one-rank cell of their scaling series.
 */
void choice_init(struct choice *c, const struct tallies *o, enum param axis);
void choice_finish(struct choice *c);

/* Append the names of what moves with the axis, as "`a`, `b`"; nothing where all else
 * is equal. */
void choice_show_with(const struct choice *c, struct text *out);

/* Take out of `c` what always moves with another parameter in it. */
void choice_drop_followers(const struct tallies *o, struct context *c);

/* The parameter that `axis` always moves with and that leads; `axis` itself if none. */
enum param choice_leader(const struct tallies *o, enum param axis);

/* Pairs with single attempts that must all point one way before that proves anything.
 */
#define CHOICE_PAIRS_PROVE 3

/* What a pair beyond noise is called where drift might explain it. */
#define CHOICE_DRIFT "single attempts: not told from drift"

/*
 * Whether differences of this value are there, but prove nothing: too few attempts, and
 * too few pairs that agree.
 */
bool choice_may_drift(const struct choice_value *v);

/*
 * Append "faster in 3 of 4, else within noise": nothing where there are no pairs, and
 * no direction where drift might explain it.
 */
void choice_verdict(const struct choice_value *v, struct text *out);

#endif

/*
 * What document.c makes of an experiment and expand.c turns into cells. Everything
 * lives in the document's arena.
 */
#ifndef MATRIX_EXPERIMENT_H
#define MATRIX_EXPERIMENT_H

#include <stdbool.h>
#include <stddef.h>

#include "matrix/axes.h"
#include "matrix/condition.h"

/* Where something stands in its file, from 1. */
struct place {
    int line, column;
};

/* How near to the cell a value was given: the nearer wins over the farther. */
enum level {
    LEVEL_NONE,
    LEVEL_DEFAULTS, /* the file's defaults */
    LEVEL_MERGED,   /* the experiment, through `<<` */
    LEVEL_OWN,      /* the experiment: fixed, axes, zip */
    LEVEL_INCLUDE,
    LEVEL_SET /* the command line */
};

struct setting {
    enum param which;
    union value value;
    enum level level;
    struct place place;
};

struct settings {
    struct setting *items;
    size_t count;
};

/* A list of values for one parameter. */
struct axis_values {
    enum param which;
    union value *values;
    size_t count;
    struct place place;
};

/* Axes that move together: an axis of its own is a group of one. All equally long. */
struct dimension {
    struct axis_values *axes;
    size_t axis_count;
    size_t count;
};

/* One parameter of a `when`: any of the alternatives. */
struct clause {
    struct condition *any;
    size_t count;
};

struct exclude {
    struct clause *clauses; /* all must hold */
    size_t count;
    const char *because;
    struct place place;
};

struct experiment {
    const char *name;
    const char *tags; /* " a b " as in struct cell */
    int expect;       /* an enum status or -1 */
    struct place place;
    struct settings fixed; /* defaults first, then merged, then own: later wins */
    struct dimension
            *dimensions; /* axes in file order, then zips; the last is fastest */
    size_t dimension_count;
    struct exclude *excludes;
    size_t exclude_count;
    struct settings *includes;
    struct place *include_places;
    size_t include_count;
};

struct document;
struct reader;
struct tree_node;

/*
 * Read one item of `experiments` into the zeroed `e`, after the defaults in `r`. False,
 * with a sentence that has its place, where anything in it is wrong.
 */
bool experiment_read(
        struct reader *r, const struct tree_node *map, struct experiment *e);

/* The experiments of a document, in file order. */
const struct experiment *document_experiments(const struct document *d, size_t *count);

/* Where the document's baseline stands. */
struct place document_baseline_place(const struct document *d);

#endif

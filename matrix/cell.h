/*
 * Cells: what a document expands into, and the one selector all subcommands share.
 */
#ifndef MATRIX_CELL_H
#define MATRIX_CELL_H

#include <stdbool.h>
#include <stddef.h>

#include "matrix/arena.h"
#include "matrix/axes.h"
#include "matrix/document.h"
#include "matrix/status.h"
#include "matrix/text.h"

#define CELLS_MOST 1000000 /* of one expansion */

struct cell {
    const char *matrix; /* every text here belongs to the cells' arena */
    const char *experiment;
    const char *id; /* "<experiment>" or "<experiment>/<param>=<value>,…" */
    char hash[13];
    const char *tags; /* one space before, between and after: " opts window " */
    struct params params;
    int expect;           /* an enum status, -1 where unstated */
    const char *excluded; /* why it is left out; NULL for a cell that runs */
    bool selected;
    bool from_set; /* --set made it: the file alone has no such cell */
};

struct cells {
    struct cell *items; /* document order; excluded cells stay in their place */
    size_t count;
    struct arena arena;
};

/* All NULL-terminated arrays; NULL for none. The words of the command line. */
struct selection {
    const char *const *tags;
    const char *const *only;
    const char *const *skip;
    const char *const *where; /* "batch>=16" */
    const char *const *set;   /* "key=value" */
    size_t most;              /* cells that are too many; 0: CELLS_MOST */
    const char *only_option;  /* how errors call `only`; NULL: --only */
};

void cells_finish(struct cells *c);

/*
 * A cell's id is its experiment's name, then the parameters that vary: axes, zip and
 * include values, and what `--set` changed, in table order. `--set` on an axis leaves
 * that one value: cells that become equal are one.
 *
 * Expand `documents` with `selection`'s `set` applied, mark what is selected. Errors:
 * two cells with one id or the same parameters within an experiment, an exclude that
 * matches nothing, parameters that params_check() refuses in a cell that is not
 * excluded, a baseline that is not one cell, an unknown tag or name (with the nearest
 * known), an empty selection, too many cells. A name that stands in several files
 * selects in each. On failure `out` is zeroed.
 */
bool cells_expand(struct document *const *documents, size_t count,
        const struct selection *selection, struct cells *out, struct text *err);

/* More cell ids are not held against a misspelled one: it would take too long. */
#define CELLS_MOST_OFFERED 10000

/*
 * Unmark those of the marked cells that `selection` (its `set` apart) leaves out, with
 * the same errors. What its sentences need is added to the cells' arena.
 */
bool cells_select(struct cells *c, const struct selection *selection, struct text *err);

#endif

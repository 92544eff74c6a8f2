/*
 * Cells: what a document expands into, and the one selector all subcommands share.
 */
#ifndef MATRIX_CELL_H
#define MATRIX_CELL_H

#include <stdbool.h>
#include <stddef.h>

#include "matrix/axes.h"
#include "matrix/document.h"
#include "matrix/status.h"
#include "matrix/text.h"

struct cell {
    const char *matrix; /* interned, like every text here */
    const char *experiment;
    const char *id; /* "<experiment>" or "<experiment>/<param>=<value>,…" */
    char hash[13];
    const char *tags; /* one space before, between and after: " opts window " */
    struct params params;
    int expect;           /* an enum status, -1 where unstated */
    const char *excluded; /* why it is left out; NULL for a cell that runs */
    bool selected;
};

struct cells {
    struct cell *items; /* document order; excluded cells stay in their place */
    size_t count;
};

/* All NULL-terminated arrays; NULL for none. The words of the command line. */
struct selection {
    const char *const *tags;
    const char *const *only;
    const char *const *skip;
    const char *const *where; /* "batch>=16" */
    const char *const *set;   /* "key=value" */
};

void cells_finish(struct cells *c);

/*
 * Expand `documents` with `selection`'s `set` applied, mark what is selected. Errors:
 * two cells with one id, an exclude that matches nothing, an unknown tag or name (with
 * the nearest known), an empty selection. A name that stands in several files selects
 * in each. On failure `out` is zeroed.
 */
bool cells_expand(struct document *const *documents, size_t count,
        const struct selection *selection, struct cells *out, struct text *err);

#endif

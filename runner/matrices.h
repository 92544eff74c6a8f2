/* The matrix files of one command line: read, expanded, selected; and their plans. */
#ifndef RUNNER_MATRICES_H
#define RUNNER_MATRICES_H

#include <stdbool.h>
#include <stddef.h>

#include "matrix/cell.h"
#include "matrix/document.h"
#include "matrix/plan.h"
#include "matrix/text.h"
#include "runner/options.h"

struct matrices {
    struct document **documents;
    size_t count;
    struct cells cells; /* of all documents */
    char *command;      /* the command line that repeats this selection */
    bool by_hand;       /* the one cell of `runner try`, which no file holds */
};

/*
 * Read the files that `o` names (none: every one in matrix/ that is not manual) and
 * expand them with its selection. On failure `m` needs no finish.
 */
bool matrices_load(struct matrices *m, const struct options *o, struct text *err);

/* The one-cell matrix `try_<name>` of `runner try`. */
bool matrices_load_try(struct matrices *m, const struct options *o, struct text *err);

void matrices_finish(struct matrices *m);

/* Whether any cell of document `d` is selected and not excluded. */
bool matrices_runs(const struct matrices *m, size_t d);

/* Append results/<matrix> of a matrix's name. */
void matrices_folder(const char *out, const char *matrix, struct text *folder);

/*
 * The plan of document `d` as plan.json keeps it: the whole matrix (but by hand, where
 * parameters make another cell), the selected cells that --set made, and those that an
 * earlier --set made. The caller owes plan_finish().
 */
bool matrices_plan(const struct matrices *m, size_t d, const char *folder,
        struct plan *plan, struct text *err);

/* Write plan.json of every matrix that runs, making its folder. */
bool matrices_write_plans(const struct matrices *m, const char *out, struct text *err);

#endif

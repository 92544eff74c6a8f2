/* From one document to its cells. cells_expand() is what others call. */
#ifndef MATRIX_EXPAND_H
#define MATRIX_EXPAND_H

#include <stdbool.h>
#include <stddef.h>

#include "matrix/cell.h"
#include "matrix/document.h"
#include "matrix/experiment.h"
#include "matrix/text.h"

/* Cells that `d` has before duplicates fall away; SIZE_MAX where that overflows. */
size_t expand_count(const struct document *d);

/*
 * Append the cells of `d`, with `set` applied, to `out`, whose items have room for
 * expand_count() more. On failure `out` is in no particular state.
 */
bool expand_document(const struct document *d, const struct settings *set,
        struct cells *out, struct text *err);

#endif

/*
 * The text form of one parameter's value: what a matrix file, an option or a spec says
 * ("bf16", "0.1", "max", "2GiB", "85/10/5"), and what ids and tables show. Reading puts
 * a text that can be written in several ways into the one form that is shown, so that
 * equal values hash alike.
 */
#ifndef MATRIX_VALUE_H
#define MATRIX_VALUE_H

#include <stdbool.h>

#include "matrix/axes.h"
#include "matrix/text.h"

/*
 * Read `text` as a value of `which`. On failure `out` is untouched; the sentence names
 * the parameter, what was found and what is expected, with no file position.
 */
bool value_read(enum param which, const char *text, union value *out, struct text *err);

/* Append what value_read() reads back as `v`; shortest round-trip reals. */
void value_show(enum param which, union value v, struct text *out);

#endif

/* An outlook for people: Markdown that reads in a terminal too. */
#ifndef REPORTS_OUTLOOK_MARKDOWN_H
#define REPORTS_OUTLOOK_MARKDOWN_H

#include <stdbool.h>

#include "matrix/text.h"
#include "reports/outlook.h"
#include "reports/table.h"

/* Every forecast, the errors, the model with the numbers put into it, its limits. */
void outlook_markdown_add(struct text *out, const struct outlook *o);

/*
 * Fill an empty table with the rows of `base`, or of all where it is SIZE_MAX and the
 * cell is a column; the caller finishes it.
 */
void outlook_markdown_table(struct table *t, const struct outlook *o, size_t base);

/* "Over 3 measured rows …": nothing where none was measured. */
void outlook_markdown_add_errors(struct text *out, const struct outlook *o);

#endif

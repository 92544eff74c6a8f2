/*
 * GitHub-flavoured Markdown. Whatever comes from a matrix file or a worker is escaped
 * here: no name, cause or path can break a table or smuggle markup into the page.
 */
#ifndef REPORTS_MARKDOWN_H
#define REPORTS_MARKDOWN_H

#include "matrix/text.h"
#include "reports/table.h"

/* Prose: markup characters are escaped, line breaks and control bytes become blanks. */
void markdown_add_text(struct text *out, const char *s);

/* A code span that survives backticks. For prose: tables escape their own bars. */
void markdown_add_code(struct text *out, const char *s);

/* A fenced block, fenced by more backticks than `s` holds in a row. */
void markdown_add_block(struct text *out, const char *language, const char *s);

/*
 * The first `most` rows; columns unknown in all rows are left out. Where rows are left
 * out, a line below says how many and that `csv` has them all.
 */
void markdown_add_table(
        struct text *out, const struct table *t, size_t most, const char *csv);

#endif

/* A table for the terminal: columns aligned by what they take on the screen. */
#ifndef REPORTS_PLAIN_H
#define REPORTS_PLAIN_H

#include "matrix/text.h"
#include "reports/table.h"

/*
 * The first `most` rows, then a line that says where the others are. Control bytes are
 * shown as '?', so no name can drive the terminal.
 */
void plain_add_table(
        struct text *out, const struct table *t, size_t most, const char *csv);

#endif

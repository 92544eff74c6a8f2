/* Comma-separated values after RFC 4180, but with LF line ends, as Unix tools expect.
 */
#ifndef REPORTS_CSV_H
#define REPORTS_CSV_H

#include <stdbool.h>

#include "matrix/text.h"
#include "reports/table.h"

/*
 * One field: quoted where it holds a comma, a quote, a line break or blanks at an end.
 * `first` fields are not preceded by a comma.
 */
void csv_add_field(struct text *out, bool first, const char *field);

/* The shortest decimal that reads back as the same double; not finite: empty. */
void csv_add_number(struct text *out, bool first, double x);

/* Header line and all rows; numbers raw, unknown ones empty. */
void csv_add_table(struct text *out, const struct table *t);

#endif

/*
 * A table of values on its way into a format. One table feeds all of them: CSV takes
 * the raw numbers under the columns' names, Markdown and the terminal take the same
 * numbers written for people under the columns' titles. A value that is not known is
 * empty in every format: never 0, never NaN.
 *
 * A zeroed table is empty; table_finish() frees what it owns. Rows are filled from left
 * to right: table_row() starts one, each table_put…() fills its next column; columns
 * that a row leaves out are unknown.
 */
#ifndef REPORTS_TABLE_H
#define REPORTS_TABLE_H

#include <stdbool.h>
#include <stddef.h>

#include "matrix/text.h"
#include "reports/human.h"
#include "reports/stats.h"

enum table_type {
    TABLE_TEXT,  /* prose: a cause, a verdict */
    TABLE_CODE,  /* a name as it is typed: a cell id, a parameter's value */
    TABLE_NUMBER /* `kind` says how people read it */
};

enum table_where {
    TABLE_EVERYWHERE,
    TABLE_CSV_ONLY,   /* too raw or too wide for a page */
    TABLE_PEOPLE_ONLY /* says in words what other columns say in numbers */
};

#define TABLE_NOTE "\xe2\x80\xa0" /* a dagger */

struct table_column {
    const char *name;  /* in CSV; not owned, outlives the table */
    const char *title; /* for people; likewise */
    enum table_type type;
    enum human_kind kind; /* TABLE_NUMBER */
    enum table_where where;
    bool right; /* set at the right edge, as numbers are */
};

struct table_value {
    bool known;
    bool best;         /* set off in bold */
    bool noted;        /* people see TABLE_NOTE behind it */
    bool integer;      /* `number` holds a whole number up to 2^53: no exponent */
    double number;     /* TABLE_NUMBER */
    double spread_pct; /* half the range of the repeats; NAN without repeats */
    char *text;        /* TABLE_TEXT, TABLE_CODE; owned */
};

struct table {
    struct table_column *columns;
    size_t column_count;
    struct table_value *values; /* row by row */
    size_t row_count;
    size_t filled; /* columns of the last row that have their value */
};

void table_finish(struct table *t);

/* Columns first, rows afterwards. The strings are not copied. */
void table_add_text(struct table *t, const char *name, const char *title);
void table_add_code(struct table *t, const char *name, const char *title);
void table_add_number(
        struct table *t, const char *name, const char *title, enum human_kind kind);

/* Where the column added last is shown. */
void table_show_last(struct table *t, enum table_where where);

/* Set the column added last, a text, at the right edge. */
void table_right_last(struct table *t);

void table_row(struct table *t);
void table_put_text(struct table *t, const char *text); /* NULL or "": unknown */
void table_put_number(struct table *t, double x);       /* not finite: unknown */
void table_put_spread(struct table *t, double x, double spread_pct);

/* Set off the value put last. */
void table_mark_best(struct table *t);

/* Set a sign behind the value put last, which the page explains. */
void table_mark_noted(struct table *t);

/* Whether such a sign is among the first `most` rows. */
bool table_is_noted(const struct table *t, size_t most);

const struct table_value *table_at(const struct table *t, size_t row, size_t column);

/* Whether no row knows a value of this column: people are spared it. */
bool table_column_is_empty(const struct table *t, size_t column);

/* The value as people read it, without any markup. */
void table_show(const struct table *t, size_t row, size_t column, struct text *out);

#endif

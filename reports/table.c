#include "reports/table.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

void table_finish(struct table *t) {
    for (size_t i = 0; i < t->row_count * t->column_count; i++) {
        free(t->values[i].text);
    }
    free(t->values);
    free(t->columns);
    *t = (struct table){0};
}

static void add_column(struct table *t, const char *name, const char *title,
        enum table_type type, enum human_kind kind) {
    assert(t->row_count == 0);
    t->columns =
            text_reallocate(t->columns, (t->column_count + 1) * sizeof *t->columns);
    t->columns[t->column_count++] = (struct table_column){
            name, title, type, kind, TABLE_EVERYWHERE, type == TABLE_NUMBER};
}

void table_add_text(struct table *t, const char *name, const char *title) {
    add_column(t, name, title, TABLE_TEXT, HUMAN_REAL);
}

void table_add_code(struct table *t, const char *name, const char *title) {
    add_column(t, name, title, TABLE_CODE, HUMAN_REAL);
}

void table_add_number(
        struct table *t, const char *name, const char *title, enum human_kind kind) {
    add_column(t, name, title, TABLE_NUMBER, kind);
}

void table_show_last(struct table *t, enum table_where where) {
    assert(t->column_count);
    t->columns[t->column_count - 1].where = where;
}

void table_right_last(struct table *t) {
    assert(t->column_count);
    t->columns[t->column_count - 1].right = true;
}

void table_row(struct table *t) {
    assert(t->column_count);
    // Grow at powers of two only, so that many rows stay cheap.
    size_t rows = t->row_count;
    if ((rows & (rows - 1)) == 0) {
        size_t capacity = rows ? 2 * rows : 1;
        t->values = text_reallocate(
                t->values, capacity * t->column_count * sizeof *t->values);
    }
    struct table_value *row = t->values + rows * t->column_count;
    for (size_t i = 0; i < t->column_count; i++) {
        row[i] = (struct table_value){.number = NAN, .spread_pct = NAN};
    }
    t->row_count++;
    t->filled = 0;
}

static struct table_value *next(struct table *t) {
    assert(t->row_count && t->filled < t->column_count);
    return t->values + (t->row_count - 1) * t->column_count + t->filled++;
}

void table_put_text(struct table *t, const char *text) {
    struct table_value *v = next(t);
    assert(t->columns[t->filled - 1].type != TABLE_NUMBER);
    if (text && *text) {
        v->known = true;
        v->text = text_copy(text);
    }
}

void table_put_number(struct table *t, double x) {
    table_put_spread(t, x, NAN);
}

void table_put_spread(struct table *t, double x, double spread_pct) {
    struct table_value *v = next(t);
    assert(t->columns[t->filled - 1].type == TABLE_NUMBER);
    if (isfinite(x)) {
        v->known = true;
        v->number = x;
        v->integer = x == floor(x) && fabs(x) <= 9007199254740992.0;
        v->spread_pct = spread_pct;
    }
}

void table_mark_best(struct table *t) {
    assert(t->filled);
    t->values[(t->row_count - 1) * t->column_count + t->filled - 1].best = true;
}

void table_mark_noted(struct table *t) {
    assert(t->filled);
    t->values[(t->row_count - 1) * t->column_count + t->filled - 1].noted = true;
}

bool table_is_noted(const struct table *t, size_t most) {
    size_t rows = t->row_count < most ? t->row_count : most;
    for (size_t i = 0; i < rows * t->column_count; i++) {
        if (t->values[i].known && t->values[i].noted) {
            return true;
        }
    }
    return false;
}

const struct table_value *table_at(const struct table *t, size_t row, size_t column) {
    assert(row < t->row_count && column < t->column_count);
    return t->values + row * t->column_count + column;
}

bool table_column_is_empty(const struct table *t, size_t column) {
    for (size_t row = 0; row < t->row_count; row++) {
        if (table_at(t, row, column)->known) {
            return false;
        }
    }
    return true;
}

void table_show(const struct table *t, size_t row, size_t column, struct text *out) {
    const struct table_value *v = table_at(t, row, column);
    if (!v->known) {
        return;
    }
    if (t->columns[column].type != TABLE_NUMBER) {
        text_add(out, v->text);
        return;
    }
    human_number(out, t->columns[column].kind, v->number);
    // Repeats that agree to every digit are no single attempt: "± 0.0 %" says so.
    if (isfinite(v->spread_pct)) {
        text_addf(out, " \xc2\xb1 %.1f %%", v->spread_pct);
    }
    text_add(out, v->noted ? " " TABLE_NOTE : "");
}

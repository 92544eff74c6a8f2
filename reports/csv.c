#include "reports/csv.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool needs_quotes(const char *s) {
    size_t size = strlen(s);
    return strpbrk(s, ",\"\r\n") || (size && (s[0] == ' ' || s[size - 1] == ' '));
}

void csv_add_field(struct text *out, bool first, const char *field) {
    if (!first) {
        text_add(out, ",");
    }
    if (!needs_quotes(field)) {
        text_add(out, field);
        return;
    }
    text_add(out, "\"");
    for (const char *p = field; *p; p++) {
        text_add_bytes(out, p, 1);
        if (*p == '"') {
            text_add(out, "\"");
        }
    }
    text_add(out, "\"");
}

void csv_add_number(struct text *out, bool first, double x) {
    if (!first) {
        text_add(out, ",");
    }
    if (!isfinite(x)) {
        return;
    }
    if (x == floor(x) && fabs(x) <= 9007199254740992.0) {
        text_addf(out, "%.0f", x == 0 ? 0.0 : x);
        return;
    }
    char digits[64];
    for (int precision = 1; precision <= 17; precision++) {
        snprintf(digits, sizeof digits, "%.*g", precision, x);
        if (strtod(digits, NULL) == x) {
            break;
        }
    }
    text_add(out, digits);
}

void csv_add_table(struct text *out, const struct table *t) {
    bool first = true;
    for (size_t c = 0; c < t->column_count; c++) {
        if (t->columns[c].where != TABLE_PEOPLE_ONLY) {
            csv_add_field(out, first, t->columns[c].name);
            first = false;
        }
    }
    text_add(out, "\n");
    for (size_t r = 0; r < t->row_count; r++) {
        first = true;
        for (size_t c = 0; c < t->column_count; c++) {
            if (t->columns[c].where == TABLE_PEOPLE_ONLY) {
                continue;
            }
            const struct table_value *v = table_at(t, r, c);
            if (t->columns[c].type == TABLE_NUMBER) {
                csv_add_number(out, first, v->number);
            } else {
                csv_add_field(out, first, v->known ? v->text : "");
            }
            first = false;
        }
        text_add(out, "\n");
    }
}

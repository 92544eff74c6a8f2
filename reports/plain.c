#include "reports/plain.h"

#include <stdlib.h>
#include <string.h>

// Screen columns: one a code point, which holds for the letters and signs used here.
static size_t width(const char *s) {
    size_t columns = 0;
    for (; *s; s++) {
        columns += ((unsigned char)*s & 0xc0) != 0x80;
    }
    return columns;
}

static void add_blanks(struct text *out, size_t count) {
    for (size_t i = 0; i < count; i++) {
        text_add(out, " ");
    }
}

static void add_padded(struct text *out, const char *s, size_t to, bool right) {
    size_t blanks = to - width(s);
    if (right) {
        add_blanks(out, blanks);
    }
    for (const char *p = s; *p; p++) {
        bool control = (unsigned char)*p < 0x20 || *p == 0x7f;
        text_add_bytes(out, control ? "?" : p, 1);
    }
    if (!right) {
        add_blanks(out, blanks);
    }
}

static void trim_line(struct text *out) {
    while (out->size && out->data[out->size - 1] == ' ') {
        out->data[--out->size] = '\0';
    }
    text_add(out, "\n");
}

static bool shown(const struct table *t, size_t column) {
    return t->columns[column].where != TABLE_CSV_ONLY &&
           !table_column_is_empty(t, column);
}

static size_t column_width(const struct table *t, size_t column, size_t rows) {
    size_t widest = width(t->columns[column].title);
    struct text value = {0};
    for (size_t r = 0; r < rows; r++) {
        text_clear(&value);
        table_show(t, r, column, &value);
        size_t w = width(text_get(&value));
        widest = w > widest ? w : widest;
    }
    text_finish(&value);
    return widest;
}

void plain_add_table(
        struct text *out, const struct table *t, size_t most, const char *csv) {
    if (!t->row_count) {
        return;
    }
    size_t rows = t->row_count < most ? t->row_count : most;
    size_t *widths = text_allocate(t->column_count * sizeof *widths);
    for (size_t c = 0; c < t->column_count; c++) {
        widths[c] = shown(t, c) ? column_width(t, c, rows) : 0;
    }
    struct text value = {0};
    // Row 0 is the heading.
    for (size_t r = 0; r <= rows; r++) {
        bool first = true;
        for (size_t c = 0; c < t->column_count; c++) {
            if (!shown(t, c)) {
                continue;
            }
            text_clear(&value);
            if (r) {
                table_show(t, r - 1, c, &value);
            } else {
                text_add(&value, t->columns[c].title);
            }
            text_add(out, first ? "" : "  ");
            add_padded(out, text_get(&value), widths[c], t->columns[c].right);
            first = false;
        }
        trim_line(out);
    }
    if (rows < t->row_count) {
        text_add(out, "… and ");
        human_plural(out, t->row_count - rows, "more row");
        text_addf(out, ": see %s\n", csv);
    }
    text_finish(&value);
    free(widths);
}

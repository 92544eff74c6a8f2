#include "reports/markdown.h"

#include <string.h>

static void add_escaped(struct text *out, const char *s) {
    for (const char *p = s; *p; p++) {
        unsigned char c = (unsigned char)*p;
        if (c < 0x20 || c == 0x7f) {
            text_add(out, " ");
        } else {
            // Underscores inside words open no emphasis in GitHub's flavour.
            if (strchr("\\`*[]<>|~#&!", c) ||
                    (c == '_' && (p == s || p[-1] == ' ' || !p[1] || p[1] == ' '))) {
                text_add(out, "\\");
            }
            text_add_bytes(out, p, 1);
        }
    }
}

void markdown_add_text(struct text *out, const char *s) {
    add_escaped(out, s);
}

static size_t longest_run(const char *s, char c) {
    size_t longest = 0;
    size_t run = 0;
    for (; *s; s++) {
        run = *s == c ? run + 1 : 0;
        longest = run > longest ? run : longest;
    }
    return longest;
}

static void add_fence(struct text *out, size_t length) {
    for (size_t i = 0; i < length; i++) {
        text_add(out, "`");
    }
}

// In a table a bar ends the cell even within a code span, unless escaped.
static void add_code(struct text *out, const char *s, bool in_table) {
    if (!*s) {
        return;
    }
    size_t run = longest_run(s, '`');
    size_t size = strlen(s);
    bool pad = s[0] == '`' || s[size - 1] == '`';
    add_fence(out, run + 1);
    text_add(out, pad ? " " : "");
    for (const char *p = s; *p; p++) {
        unsigned char c = (unsigned char)*p;
        if (c < 0x20 || c == 0x7f) {
            text_add(out, " ");
        } else {
            text_add(out, in_table && c == '|' ? "\\" : "");
            text_add_bytes(out, p, 1);
        }
    }
    text_add(out, pad ? " " : "");
    add_fence(out, run + 1);
}

void markdown_add_code(struct text *out, const char *s) {
    add_code(out, s, false);
}

void markdown_add_block(struct text *out, const char *language, const char *s) {
    size_t fence = longest_run(s, '`') + 1;
    fence = fence < 3 ? 3 : fence;
    add_fence(out, fence);
    text_addf(out, "%s\n", language);
    for (const char *p = s; *p; p++) {
        unsigned char c = (unsigned char)*p;
        if (c >= 0x20 ? c != 0x7f : c == '\n' || c == '\t') {
            text_add_bytes(out, p, 1);
        }
    }
    if (!*s || s[strlen(s) - 1] != '\n') {
        text_add(out, "\n");
    }
    add_fence(out, fence);
    text_add(out, "\n\n");
}

static bool shown(const struct table *t, size_t column) {
    return t->columns[column].where != TABLE_CSV_ONLY &&
           !table_column_is_empty(t, column);
}

static void add_value(struct text *out, const struct table *t, size_t r, size_t c) {
    struct text value = {0};
    table_show(t, r, c, &value);
    bool bold = table_at(t, r, c)->best && value.size;
    text_add(out, bold ? "**" : "");
    if (t->columns[c].type == TABLE_CODE) {
        add_code(out, text_get(&value), true);
    } else if (t->columns[c].type == TABLE_TEXT) {
        add_escaped(out, text_get(&value));
    } else {
        text_add(out, text_get(&value));
    }
    text_add(out, bold ? "**" : "");
    text_finish(&value);
}

void markdown_add_table(
        struct text *out, const struct table *t, size_t most, const char *csv) {
    if (!t->row_count) {
        return;
    }
    text_add(out, "|");
    for (size_t c = 0; c < t->column_count; c++) {
        if (shown(t, c)) {
            text_add(out, " ");
            add_escaped(out, t->columns[c].title);
            text_add(out, " |");
        }
    }
    text_add(out, "\n|");
    for (size_t c = 0; c < t->column_count; c++) {
        if (shown(t, c)) {
            text_add(out, t->columns[c].right ? "---:|" : ":---|");
        }
    }
    text_add(out, "\n");
    size_t rows = t->row_count < most ? t->row_count : most;
    for (size_t r = 0; r < rows; r++) {
        text_add(out, "|");
        for (size_t c = 0; c < t->column_count; c++) {
            if (shown(t, c)) {
                text_add(out, " ");
                add_value(out, t, r, c);
                text_add(out, " |");
            }
        }
        text_add(out, "\n");
    }
    text_add(out, "\n");
    if (rows < t->row_count) {
        text_add(out, "… and ");
        human_plural(out, t->row_count - rows, "more row");
        text_add(out, "; all ");
        human_number(out, HUMAN_COUNT, (double)t->row_count);
        text_add(out, " are in ");
        markdown_add_code(out, csv);
        text_add(out, ".\n\n");
    }
}

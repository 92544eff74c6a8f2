#include "reports/page.h"

#include "matrix/file.h"
#include "reports/csv.h"
#include "reports/markdown.h"

void page_file_name(const struct page *p, const char *name, struct text *out) {
    text_addf(out, "%s_%s", p->matrix, name);
}

bool page_write(
        struct page *p, const char *name, const struct text *bytes, struct text *err) {
    struct text path = {0};
    text_addf(&path, "%s/", p->folder);
    page_file_name(p, name, &path);
    bool ok = file_write_quick(text_get(&path), text_get(bytes), bytes->size, err);
    text_finish(&path);
    if (ok) {
        page_file_name(p, name, &p->written);
        text_add(&p->written, "\n");
    }
    return ok;
}

bool page_add_csv(
        struct page *p, const struct table *t, const char *name, struct text *err) {
    struct text file = {0};
    struct text csv = {0};
    text_addf(&file, "%s.csv", name);
    csv_add_table(&csv, t);
    bool ok = page_write(p, text_get(&file), &csv, err);
    text_finish(&file);
    text_finish(&csv);
    return ok;
}

void page_add_table(struct page *p, const struct table *t, const char *name) {
    struct text file = {0};
    page_file_name(p, name, &file);
    text_add(&file, ".csv");
    markdown_add_table(&p->markdown, t, PAGE_ROWS, text_get(&file));
    text_finish(&file);
}

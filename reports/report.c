#include "reports/report.h"

#include <dirent.h>
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "matrix/results.h"
#include "reports/columns.h"
#include "reports/human.h"
#include "reports/markdown.h"
#include "reports/page.h"
#include "reports/plain.h"

static void add_title(struct page *p) {
    const struct plan *plan = &p->tallies->results->plan;
    text_add(&p->markdown, "# ");
    markdown_add_text(&p->markdown, p->matrix);
    text_add(&p->markdown, "\n\n");
    if (plan->description && *plan->description) {
        text_add(&p->markdown, "> ");
        markdown_add_text(&p->markdown, plan->description);
        text_add(&p->markdown, "\n\n");
    }
}

static bool write_page(struct page *p, struct text *err) {
    static bool (*const sections[])(struct page *, struct text *) = {answer_add,
            comparison_add, engine_add, wrapper_add, axis_add, search_add, seed_add,
            quality_add, phase_add, ledger_add, allreduce_add, outlook_page_add,
            gpu_add, memory_add, hole_add, setting_add, method_add};
    add_title(p);
    for (size_t i = 0; i < sizeof sections / sizeof *sections; i++) {
        if (!sections[i](p, err)) {
            return false;
        }
    }
    return page_write(p, "report.md", &p->markdown, err);
}

static bool write_results(struct page *p, struct text *err) {
    struct text csv = {0};
    columns_add_csv(&csv, p->tallies);
    bool ok = page_write(p, "results.csv", &csv, err);
    text_finish(&csv);
    return ok;
}

// Whether `written` has `name` as one of its lines.
static bool was_written(const struct page *p, const char *name) {
    size_t size = strlen(name);
    for (const char *line = text_get(&p->written); *line;) {
        const char *end = strchr(line, '\n');
        if ((size_t)(end - line) == size && memcmp(line, name, size) == 0) {
            return true;
        }
        line = end + 1;
    }
    return false;
}

// Tables of an earlier report that this one has no more would contradict it.
static void remove_old_tables(struct page *p) {
    DIR *folder = opendir(p->folder);
    if (!folder) {
        return;
    }
    struct text prefix = {0};
    page_file_name(p, "", &prefix);
    struct text path = {0};
    const struct dirent *entry;
    while ((entry = readdir(folder))) {
        const char *name = entry->d_name;
        size_t size = strlen(name);
        if (size > 4 && strcmp(name + size - 4, ".csv") == 0 &&
                strncmp(name, text_get(&prefix), prefix.size) == 0 &&
                !was_written(p, name)) {
            text_clear(&path);
            text_addf(&path, "%s/%s", p->folder, name);
            unlink(text_get(&path));
        }
    }
    closedir(folder);
    text_finish(&path);
    text_finish(&prefix);
}

static void add_damaged(const struct page *p, struct text *out) {
    size_t damaged = hole_damaged(p->tallies);
    if (damaged) {
        human_plural(out, damaged, "record");
        text_addf(out, " cannot be read: see \"Damaged records\" in ");
        page_file_name(p, "report.md", out);
        text_add(out, "\n");
    }
}

static bool print_comparison(const struct page *p, FILE *out, struct text *err) {
    struct table t = {0};
    comparison_table(p->tallies, &t);
    struct text name = {0};
    page_file_name(p, "comparison.csv", &name);
    struct text plain = {0};
    plain_add_table(&plain, &t, PAGE_ROWS, text_get(&name));
    text_add(&plain, table_is_noted(&t, PAGE_ROWS) ? COMPARISON_NOTE "\n" : "");
    add_damaged(p, &plain);
    bool ok = fwrite(text_get(&plain), 1, plain.size, out) == plain.size &&
              fflush(out) == 0;
    if (!ok) {
        text_fail(err, "cannot print the comparison: %s", strerror(errno));
    }
    text_finish(&plain);
    text_finish(&name);
    table_finish(&t);
    return ok;
}

bool report_write(const char *matrix_folder, FILE *out, struct text *err) {
    struct results results = {0};
    if (!results_read(matrix_folder, &results, err)) {
        return false;
    }
    // The name becomes part of file names; a plan from elsewhere is not to be trusted.
    const char *matrix = results.plan.matrix;
    if (!*matrix || strchr(matrix, '/')) {
        text_fail(err, "'%s/plan.json': '%s' is no name of a matrix", matrix_folder,
                matrix);
        results_finish(&results);
        return false;
    }
    struct tallies tallies;
    tallies_init(&tallies, &results);
    struct candidates candidates;
    candidates_init(&candidates, &tallies);
    struct page page = {.folder = matrix_folder,
            .matrix = matrix,
            .tallies = &tallies,
            .candidates = &candidates};
    bool ok = write_results(&page, err) && write_page(&page, err) &&
              steps_add(&page, err);
    if (ok) {
        remove_old_tables(&page);
    }
    ok = ok && (!out || print_comparison(&page, out, err));
    text_finish(&page.markdown);
    text_finish(&page.written);
    candidates_finish(&candidates);
    tallies_finish(&tallies);
    results_finish(&results);
    return ok;
}

#include "matrix/document.h"

#include <stdlib.h>
#include <string.h>

#include "matrix/experiment.h"
#include "matrix/file.h"
#include "matrix/reader.h"
#include "matrix/tree.h"

#define MOST_EXPERIMENTS 10000

struct document {
    struct arena arena;
    const char *path, *name, *description, *baseline;
    struct place baseline_place;
    bool manual;
    struct experiment *experiments;
    size_t count;
};

static bool read_boolean(struct reader *r, const struct tree_node *node, bool *out) {
    bool yes = node->kind == TREE_TEXT && !strcmp(node->text, "true");
    bool no = node->kind == TREE_TEXT && !strcmp(node->text, "false");
    *out = yes;
    return yes || no || reader_refuse(r, node, "true or false");
}

static int by_name(const void *a, const void *b) {
    const struct experiment *const *x = a, *const *y = b;
    int order = strcmp((*x)->name, (*y)->name);
    return order ? order : ((*x)->place.line > (*y)->place.line) * 2 - 1;
}

static bool check_names(struct reader *r, const struct document *d) {
    size_t count = d->count;
    const struct experiment **order = text_allocate(count * sizeof(*order));
    for (size_t i = 0; i < count; i++) {
        order[i] = &d->experiments[i];
    }
    qsort(order, count, sizeof(*order), by_name);
    bool ok = true;
    for (size_t i = 1; ok && i < count; i++) {
        if (!strcmp(order[i - 1]->name, order[i]->name)) {
            ok = text_fail(r->err,
                    "%s:%d:%d: found experiment '%s' again (first on line %d), "
                    "expected "
                    "each name once",
                    r->path, order[i]->place.line, order[i]->place.column,
                    order[i]->name, order[i - 1]->place.line);
        }
    }
    free(order);
    return ok;
}

static bool read_experiments(
        struct reader *r, struct document *d, const struct tree_node *list) {
    if (!reader_want(r, list, TREE_LIST, "a list of experiments")) {
        return false;
    }
    if (!list->count || list->count > MOST_EXPERIMENTS) {
        return reader_fail(r, list,
                list->count ? "found more than 10000 experiments, expected fewer"
                            : "found an empty list, expected at least one experiment");
    }
    d->experiments = arena_allocate(&d->arena, list->count * sizeof *d->experiments);
    for (size_t i = 0; i < list->count; i++) {
        if (!experiment_read(r, list->items[i], &d->experiments[d->count++])) {
            return false;
        }
    }
    return check_names(r, d);
}

static bool read_root(
        struct reader *r, struct document *d, const struct tree_node *map) {
    static const char *const keys[] = {
            "description", "baseline", "manual", "defaults", "experiments", NULL};
    if (!reader_want(r, map, TREE_MAP, "a map with 'experiments'")) {
        return false;
    }
    for (size_t i = 0; i < map->count; i++) {
        const struct tree_node *key = map->pairs[i].key;
        if (!reader_is_one_of(keys, key->text)) {
            enum param which;
            return reader_unknown(r, key, keys, false,
                    axes_find(key->text, &which)
                            ? "it under 'defaults' or in an experiment"
                            : "description, baseline, manual, defaults or experiments");
        }
    }
    const struct tree_node *description = reader_find(map, "description");
    const struct tree_node *baseline = reader_find(map, "baseline");
    const struct tree_node *manual = reader_find(map, "manual");
    const struct tree_node *defaults = reader_find(map, "defaults");
    const struct tree_node *experiments = reader_find(map, "experiments");
    if (description && !reader_want(r, description, TREE_TEXT, "a text")) {
        return false;
    }
    if (baseline && (baseline->kind != TREE_TEXT || !*baseline->text)) {
        return reader_refuse(r, baseline, "an experiment with one cell, or a cell id");
    }
    d->description = arena_copy(&d->arena, description ? description->text : "");
    d->baseline = arena_copy(&d->arena, baseline ? baseline->text : "");
    d->baseline_place = reader_place(baseline ? baseline : map);
    if (!experiments) {
        return reader_fail(r, map, "found no 'experiments', expected a list of them");
    }
    return (!manual || read_boolean(r, manual, &d->manual)) &&
           (!defaults || reader_settings(r, defaults, LEVEL_DEFAULTS, &r->defaults)) &&
           read_experiments(r, d, experiments);
}

/* The matrix's name: the file's, without folder and without .yaml or .yml. */
static bool name_document(struct document *d, struct text *err) {
    const char *slash = strrchr(d->path, '/');
    char *name = arena_copy(&d->arena, slash ? slash + 1 : d->path);
    char *dot = strrchr(name, '.');
    if (dot && (!strcmp(dot, ".yaml") || !strcmp(dot, ".yml"))) {
        *dot = '\0';
    }
    d->name = name;
    return reader_is_name(name) ||
           text_fail(err,
                   "%s: found file name '%s', expected up to 64 letters, digits, '_', "
                   "'.' and '-' before .yaml",
                   d->path, name);
}

struct document *document_parse(
        const char *name, const char *bytes, size_t size, struct text *err) {
    struct document *d = text_allocate_zeroed(1, sizeof *d);
    struct tree tree = {0};
    d->path = arena_copy(&d->arena, name);
    bool ok = name_document(d, err) && tree_parse(&tree, name, bytes, size, err);
    if (ok && !tree.root) {
        ok = text_fail(err,
                "%s:1:1: found an empty file, expected a map with 'experiments'", name);
    }
    struct reader r = {.path = d->path, .arena = &d->arena, .err = err};
    ok = ok && read_root(&r, d, tree.root);
    tree_finish(&tree);
    if (!ok) {
        document_destroy(d);
        return NULL;
    }
    return d;
}

struct document *document_read(const char *path, struct text *err) {
    struct text bytes = {0};
    struct document *d = NULL;
    if (file_read(path, TREE_MAX_BYTES, &bytes, err)) {
        d = document_parse(path, text_get(&bytes), bytes.size, err);
    }
    text_finish(&bytes);
    return d;
}

void document_destroy(struct document *d) {
    if (d) {
        arena_finish(&d->arena);
        free(d);
    }
}

const char *document_name(const struct document *d) {
    return d->name;
}

const char *document_path(const struct document *d) {
    return d->path;
}

const char *document_description(const struct document *d) {
    return d->description;
}

const char *document_baseline(const struct document *d) {
    return d->baseline;
}

bool document_manual(const struct document *d) {
    return d->manual;
}

const struct experiment *document_experiments(const struct document *d, size_t *count) {
    *count = d->count;
    return d->experiments;
}

struct place document_baseline_place(const struct document *d) {
    return d->baseline_place;
}

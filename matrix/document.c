#include "matrix/document.h"

#include <jansson.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "matrix/experiment.h"
#include "matrix/file.h"
#include "matrix/nearest.h"
#include "matrix/status.h"
#include "matrix/tree.h"

#define LONGEST_NAME 64
#define MOST_EXPERIMENTS 10000
#define MOST_VALUES 1000000 /* in a file, once its aliases are followed */

struct document {
    struct arena arena;
    const char *path, *name, *description, *baseline;
    struct place baseline_place;
    bool manual;
    struct experiment *experiments;
    size_t count;
};

/* What parsing needs beside the document. */
struct reader {
    struct document *d;
    struct text *err;
    struct settings defaults;
    size_t values; /* read so far */
};

static struct place place_of(const struct tree_node *node) {
    return (struct place){node->line, node->column};
}

/* Put a sentence's position in front of it; always false. */
static bool fail_at(
        struct reader *r, const struct tree_node *at, const char *sentence) {
    return text_fail(
            r->err, "%s:%d:%d: %s", r->d->path, at->line, at->column, sentence);
}

/* "found <node>, expected <expected>". */
static bool refuse(struct reader *r, const struct tree_node *at, const char *expected) {
    struct text sentence = {0};
    text_add(&sentence, "found ");
    tree_describe(at, &sentence);
    text_addf(&sentence, ", expected %s", expected);
    fail_at(r, at, text_get(&sentence));
    text_finish(&sentence);
    return false;
}

static bool want_kind(struct reader *r, const struct tree_node *node,
        enum tree_kind kind, const char *expected) {
    return node->kind == kind || refuse(r, node, expected);
}

static const struct tree_node *find(const struct tree_node *map, const char *key) {
    for (size_t i = 0; i < map->count; i++) {
        if (!strcmp(map->pairs[i].key->text, key)) {
            return map->pairs[i].value;
        }
    }
    return NULL;
}

/* Letters, digits, `_`, `.`, `-`; no leading `.` or `-`: names become folders. */
static bool is_name(const char *s) {
    static const char fine[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                               "0123456789_.-";
    size_t size = strlen(s);
    return size && size <= LONGEST_NAME && strspn(s, fine) == size && *s != '.' &&
           *s != '-';
}

static bool read_name(
        struct reader *r, const struct tree_node *node, const char **out) {
    if (node->kind != TREE_TEXT || !is_name(node->text)) {
        return refuse(r, node, "a name of up to 64 letters, digits, '_', '.' and '-'");
    }
    *out = arena_copy(&r->d->arena, node->text);
    return true;
}

static bool read_boolean(struct reader *r, const struct tree_node *node, bool *out) {
    bool yes = node->kind == TREE_TEXT && !strcmp(node->text, "true");
    bool no = node->kind == TREE_TEXT && !strcmp(node->text, "false");
    *out = yes;
    return yes || no || refuse(r, node, "true or false");
}

/* The text of an `env` map, as params_set() takes it. */
static bool env_text(struct reader *r, const struct tree_node *node, struct text *out) {
    if (!want_kind(r, node, TREE_MAP, "a map from variable names to texts")) {
        return false;
    }
    json_t *map = json_object();
    bool ok = true;
    for (size_t i = 0; ok && i < node->count; i++) {
        const struct tree_node *value = node->pairs[i].value;
        ok = want_kind(r, value, TREE_TEXT, "a text") &&
             (json_object_set_new(
                      map, node->pairs[i].key->text, json_string(value->text)) == 0 ||
                     refuse(r, value, "printable text"));
    }
    char *json = json_dumps(map, JSON_COMPACT);
    text_add(out, json);
    free(json);
    json_decref(map);
    return ok;
}

/* A list of data files, joined as params_set() takes them. */
static bool data_text(
        struct reader *r, const struct tree_node *node, struct text *out) {
    for (size_t i = 0; i < node->count; i++) {
        const struct tree_node *item = node->items[i];
        if (item->kind != TREE_TEXT || !*item->text || strchr(item->text, ',')) {
            return refuse(r, item, "a file, glob or folder without a comma");
        }
        text_addf(out, "%s%s", i ? "," : "", item->text);
    }
    return node->count || refuse(r, node, "at least one file");
}

static bool read_value(struct reader *r, enum param which, const struct tree_node *node,
        union value *out) {
    r->values += 1 + node->count; // a list of data files, a map of env
    if (r->values > MOST_VALUES) {
        return fail_at(r, node, "found more than 1000000 values, expected fewer");
    }
    struct text text = {0}, wrong = {0};
    bool ok = true;
    if (which == PARAM_ENV) {
        ok = env_text(r, node, &text);
    } else if (which == PARAM_DATA && node->kind == TREE_LIST) {
        ok = data_text(r, node, &text);
    } else if (node->kind == TREE_TEXT && (*node->text || node->quoted)) {
        text_add(&text, node->text);
    } else {
        text_addf(&wrong, "found ");
        tree_describe(node, &wrong);
        text_addf(&wrong, " for %s, expected ", axes_get(which)->name);
        axes_expected(which, &wrong);
        ok = fail_at(r, node, text_get(&wrong));
    }
    struct params scratch;
    params_init(&scratch);
    if (ok && !params_set(&scratch, which, text_get(&text), &wrong)) {
        ok = fail_at(r, node, text_get(&wrong));
    }
    *out = scratch.values[which];
    text_finish(&text);
    text_finish(&wrong);
    return ok;
}

/* Says that `key` is unknown, with the nearest of the parameters and of `more`. */
static bool unknown_key(struct reader *r, const struct tree_node *key,
        const char *const *more, bool parameters, const char *expected) {
    struct nearest n;
    nearest_init(&n, key->text);
    for (; more && *more; more++) {
        nearest_offer(&n, *more);
    }
    for (int i = 0; parameters && i < PARAM_COUNT; i++) {
        nearest_offer(&n, axes_get((enum param)i)->name);
    }
    struct text whole = {0};
    text_add(&whole, expected);
    if (nearest_likely(&n)) {
        text_addf(&whole, "; did you mean '%s'?", nearest_likely(&n));
    }
    refuse(r, key, text_get(&whole));
    text_finish(&whole);
    return false;
}

static bool read_parameter(
        struct reader *r, const struct tree_node *key, enum param *out) {
    return axes_find(key->text, out) || unknown_key(r, key, NULL, true, "a parameter");
}

static bool read_setting(struct reader *r, const struct tree_pair *pair,
        enum level level, struct setting *out) {
    out->level = level;
    out->place = place_of(pair->key);
    return read_parameter(r, pair->key, &out->which) &&
           read_value(r, out->which, pair->value, &out->value);
}

/* Two ways to say the same size, at one level: nobody could tell which is meant. */
static bool check_batches(struct reader *r, const struct settings *s) {
    const struct setting *seen = NULL;
    for (size_t i = 0; i < s->count; i++) {
        const struct setting *now = &s->items[i];
        if ((now->which != PARAM_BATCH && now->which != PARAM_GLOBAL_BATCH) ||
                (now->which == PARAM_GLOBAL_BATCH && !now->value.integer)) {
            continue;
        }
        if (seen && seen->level == now->level) {
            return text_fail(r->err,
                    "%s:%d:%d: found both batch and global_batch, expected one of them",
                    r->d->path, now->place.line, now->place.column);
        }
        seen = now;
    }
    return true;
}

/* A map of nothing but parameters. */
static bool read_settings(struct reader *r, const struct tree_node *map,
        enum level level, struct settings *out) {
    if (!want_kind(r, map, TREE_MAP, "a map of parameters")) {
        return false;
    }
    out->items = arena_allocate(&r->d->arena, map->count * sizeof *out->items);
    for (size_t i = 0; i < map->count; i++) {
        if (!read_setting(r, &map->pairs[i], level, &out->items[out->count++])) {
            return false;
        }
    }
    return check_batches(r, out);
}

static bool read_tags(
        struct reader *r, const struct tree_node *node, const char **out) {
    struct text tags = {0};
    text_add(&tags, " ");
    size_t count = node->kind == TREE_LIST ? node->count : 1;
    bool ok = want_kind(
            r, node, node->kind == TREE_MAP ? TREE_LIST : node->kind, "a list of tags");
    for (size_t i = 0; ok && i < count; i++) {
        const struct tree_node *tag = node->kind == TREE_LIST ? node->items[i] : node;
        const char *name = "";
        ok = (++r->values <= MOST_VALUES ||
                     fail_at(r, tag,
                             "found more than 1000000 values, expected fewer")) &&
             read_name(r, tag, &name);
        if (ok) {
            text_addf(&tags, "%s ", name);
        }
    }
    *out = arena_copy(&r->d->arena, text_get(&tags));
    text_finish(&tags);
    return ok;
}

static bool read_expect(struct reader *r, const struct tree_node *node, int *out) {
    enum status status;
    if (node->kind == TREE_TEXT && status_parse(node->text, &status) &&
            status < STATUS_EXCLUDED) {
        *out = (int)status;
        return true;
    }
    struct text expected = {0};
    struct nearest n;
    nearest_init(&n, node->kind == TREE_TEXT ? node->text : "");
    text_add(&expected, "a status: ");
    for (int i = 0; i < STATUS_EXCLUDED; i++) {
        nearest_offer(&n, status_name((enum status)i));
        text_addf(&expected, "%s%s", i ? ", " : "", status_name((enum status)i));
    }
    if (nearest_likely(&n)) {
        text_addf(&expected, "; did you mean '%s'?", nearest_likely(&n));
    }
    refuse(r, node, text_get(&expected));
    text_finish(&expected);
    return false;
}

/* Whether something else in the experiment already gives `key`'s parameter. */
static bool check_free(struct reader *r, const struct experiment *e,
        const struct tree_node *key, enum param which) {
    if (!axes_get(which)->hashed) {
        return refuse(r, key,
                "a parameter that changes the cell; clocks and repeats "
                "stand fixed in the experiment");
    }
    bool taken = false;
    for (size_t i = 0; i < e->dimension_count; i++) {
        for (size_t j = 0; j < e->dimensions[i].axis_count; j++) {
            taken = taken || e->dimensions[i].axes[j].which == which;
        }
    }
    for (size_t i = 0; i < e->fixed.count; i++) {
        const struct setting *s = &e->fixed.items[i];
        taken = taken || (s->which == which && s->level == LEVEL_OWN);
    }
    return !taken ||
           refuse(r, key,
                   "each parameter once in an experiment, its axes and its zips");
}

static bool read_axis(struct reader *r, const struct experiment *e,
        const struct tree_pair *pair, struct axis_values *out) {
    const struct tree_node *list = pair->value;
    if (!read_parameter(r, pair->key, &out->which) ||
            !check_free(r, e, pair->key, out->which) ||
            !want_kind(r, list, TREE_LIST, "a list of values")) {
        return false;
    }
    if (!list->count) {
        return fail_at(r, list, "found an empty list, expected at least one value");
    }
    out->place = place_of(pair->key);
    out->values = arena_allocate(&r->d->arena, list->count * sizeof *out->values);
    for (size_t i = 0; i < list->count; i++) {
        if (!read_value(r, out->which, list->items[i], &out->values[out->count++])) {
            return false;
        }
    }
    return true;
}

/* `axes`: every pair a dimension of its own. */
static bool read_axes(
        struct reader *r, struct experiment *e, const struct tree_node *map) {
    if (!want_kind(r, map, TREE_MAP, "a map from parameters to lists of values")) {
        return false;
    }
    for (size_t i = 0; i < map->count; i++) {
        struct axis_values *axis = arena_allocate(&r->d->arena, sizeof *axis);
        if (!read_axis(r, e, &map->pairs[i], axis)) {
            return false;
        }
        e->dimensions[e->dimension_count++] =
                (struct dimension){.axes = axis, .axis_count = 1, .count = axis->count};
    }
    return true;
}

/* One group of `zip`: its lists move together. */
static bool read_zip(
        struct reader *r, struct experiment *e, const struct tree_node *map) {
    if (!want_kind(
                r, map, TREE_MAP, "a map from parameters to lists of equal length")) {
        return false;
    }
    if (!map->count) {
        return fail_at(r, map, "found an empty map, expected lists of equal length");
    }
    struct dimension *dimension = &e->dimensions[e->dimension_count++];
    dimension->axes =
            arena_allocate(&r->d->arena, map->count * sizeof *dimension->axes);
    for (size_t i = 0; i < map->count; i++) {
        struct axis_values *axis = &dimension->axes[i];
        if (!read_axis(r, e, &map->pairs[i], axis)) {
            return false;
        }
        dimension->axis_count++;
        if (i && axis->count != dimension->count) {
            return text_fail(r->err,
                    "%s:%d:%d: found %zu values for %s, expected %zu as for %s, which "
                    "it "
                    "is zipped with",
                    r->d->path, axis->place.line, axis->place.column, axis->count,
                    axes_get(axis->which)->name, dimension->count,
                    axes_get(dimension->axes[0].which)->name);
        }
        dimension->count = axis->count;
    }
    return true;
}

static bool read_dimensions(
        struct reader *r, struct experiment *e, const struct tree_node *map) {
    const struct tree_node *axes = find(map, "axes"), *zips = find(map, "zip");
    if (zips && !want_kind(r, zips, TREE_LIST, "a list of groups")) {
        return false;
    }
    size_t most = (axes ? axes->count : 0) + (zips ? zips->count : 0);
    if (zips && zips->count > PARAM_COUNT) {
        return fail_at(r, zips, "found more groups than there are parameters");
    }
    e->dimensions = arena_allocate(&r->d->arena, most * sizeof *e->dimensions);
    if (axes && !read_axes(r, e, axes)) {
        return false;
    }
    for (size_t i = 0; zips && i < zips->count; i++) {
        if (!read_zip(r, e, zips->items[i])) {
            return false;
        }
    }
    return true;
}

static bool read_condition(struct reader *r, enum param which,
        const struct tree_node *node, struct condition *out) {
    struct text text = {0}, wrong = {0};
    r->values += 1 + node->count;
    bool ok = r->values <= MOST_VALUES ||
              fail_at(r, node, "found more than 1000000 values, expected fewer");
    if (ok && which == PARAM_ENV && node->kind == TREE_MAP) {
        ok = env_text(r, node, &text);
    } else {
        ok = ok &&
             want_kind(r, node, TREE_TEXT, "a value or a comparison such as '>=32'");
        text_add(&text, ok ? node->text : "");
    }
    if (ok && !condition_parse(out, which, text_get(&text), &wrong)) {
        ok = fail_at(r, node, text_get(&wrong));
    }
    text_finish(&text);
    text_finish(&wrong);
    return ok;
}

static bool read_clause(
        struct reader *r, const struct tree_pair *pair, struct clause *out) {
    enum param which;
    if (!read_parameter(r, pair->key, &which)) {
        return false;
    }
    const struct tree_node *value = pair->value;
    bool list = value->kind == TREE_LIST;
    size_t count = list ? value->count : 1;
    if (!count) {
        return fail_at(r, value, "found an empty list, expected at least one value");
    }
    out->any = arena_allocate(&r->d->arena, count * sizeof *out->any);
    for (size_t i = 0; i < count; i++) {
        if (!read_condition(r, which, list ? value->items[i] : value,
                    &out->any[out->count++])) {
            return false;
        }
    }
    return true;
}

static bool read_exclude(
        struct reader *r, const struct tree_node *map, struct exclude *out) {
    static const char *const keys[] = {"when", "because", NULL};
    if (!want_kind(r, map, TREE_MAP, "a map with 'when' and 'because'")) {
        return false;
    }
    for (size_t i = 0; i < map->count; i++) {
        const struct tree_node *key = map->pairs[i].key;
        if (strcmp(key->text, "when") != 0 && strcmp(key->text, "because") != 0) {
            return unknown_key(r, key, keys, false, "'when' or 'because'");
        }
    }
    const struct tree_node *when = find(map, "when"), *because = find(map, "because");
    if (!when || !because) {
        return fail_at(r, map,
                when ? "found an exclude without 'because', expected its reason"
                     : "found an exclude without 'when', expected a map of "
                       "conditions");
    }
    if (because->kind != TREE_TEXT || !*because->text) {
        return refuse(r, because, "the reason, as text");
    }
    if (!want_kind(r, when, TREE_MAP, "a map from parameters to values")) {
        return false;
    }
    if (!when->count) {
        return fail_at(r, when, "found an empty map, expected at least one condition");
    }
    out->place = place_of(map);
    out->because = arena_copy(&r->d->arena, because->text);
    out->clauses = arena_allocate(&r->d->arena, when->count * sizeof *out->clauses);
    for (size_t i = 0; i < when->count; i++) {
        if (!read_clause(r, &when->pairs[i], &out->clauses[out->count++])) {
            return false;
        }
    }
    return true;
}

static bool read_excludes(
        struct reader *r, struct experiment *e, const struct tree_node *list) {
    if (!want_kind(r, list, TREE_LIST, "a list of maps with 'when' and 'because'")) {
        return false;
    }
    e->excludes = arena_allocate(&r->d->arena, list->count * sizeof *e->excludes);
    for (size_t i = 0; i < list->count; i++) {
        if (!read_exclude(r, list->items[i], &e->excludes[e->exclude_count++])) {
            return false;
        }
    }
    return true;
}

static bool read_includes(
        struct reader *r, struct experiment *e, const struct tree_node *list) {
    if (!want_kind(r, list, TREE_LIST, "a list of maps of parameters")) {
        return false;
    }
    e->includes = arena_allocate(&r->d->arena, list->count * sizeof *e->includes);
    e->include_places =
            arena_allocate(&r->d->arena, list->count * sizeof *e->include_places);
    for (size_t i = 0; i < list->count; i++) {
        const struct tree_node *map = list->items[i];
        struct settings *s = &e->includes[e->include_count];
        e->include_places[e->include_count++] = place_of(map);
        if (!read_settings(r, map, LEVEL_INCLUDE, s)) {
            return false;
        }
        for (size_t j = 0; j < s->count; j++) {
            if (!axes_get(s->items[j].which)->hashed) {
                return refuse(r, map->pairs[j].key,
                        "a parameter that changes the cell; clocks and repeats stand "
                        "fixed in the experiment");
            }
        }
    }
    return true;
}

static const char *const experiment_keys[] = {
        "name", "tags", "expect", "axes", "zip", "include", "exclude", NULL};

static bool is_one_of(const char *const *words, const char *word) {
    for (; *words; words++) {
        if (!strcmp(*words, word)) {
            return true;
        }
    }
    return false;
}

/* Every key that is a parameter, after the file's defaults. */
static bool read_fixed(
        struct reader *r, struct experiment *e, const struct tree_node *map) {
    size_t most = r->defaults.count + map->count;
    struct settings *s = &e->fixed;
    s->items = arena_allocate(&r->d->arena, most * sizeof *s->items);
    for (size_t i = 0; i < r->defaults.count; i++) {
        s->items[s->count++] = r->defaults.items[i];
    }
    // Merged keys stand behind own ones in the tree, but are the farther of the two.
    for (int merged = 1; merged >= 0; merged--) {
        for (size_t i = 0; i < map->count; i++) {
            const struct tree_pair *pair = &map->pairs[i];
            enum param which;
            if (pair->merged != merged || is_one_of(experiment_keys, pair->key->text)) {
                continue;
            }
            if (!axes_find(pair->key->text, &which)) {
                return unknown_key(r, pair->key, experiment_keys, true,
                        "a parameter or a key of an experiment");
            }
            if (!read_setting(r, pair, merged ? LEVEL_MERGED : LEVEL_OWN,
                        &s->items[s->count++])) {
                return false;
            }
        }
    }
    return check_batches(r, s);
}

static bool read_experiment(
        struct reader *r, const struct tree_node *map, struct experiment *e) {
    if (!want_kind(r, map, TREE_MAP, "a map with 'name' and parameters")) {
        return false;
    }
    const struct tree_node *name = find(map, "name");
    const struct tree_node *tags = find(map, "tags"), *expect = find(map, "expect");
    const struct tree_node *excludes = find(map, "exclude");
    const struct tree_node *includes = find(map, "include");
    e->place = place_of(map);
    e->tags = " ";
    e->expect = -1;
    if (!name) {
        return fail_at(r, map, "found an experiment without 'name', expected one");
    }
    return read_name(r, name, &e->name) && (!tags || read_tags(r, tags, &e->tags)) &&
           (!expect || read_expect(r, expect, &e->expect)) && read_fixed(r, e, map) &&
           read_dimensions(r, e, map) && (!excludes || read_excludes(r, e, excludes)) &&
           (!includes || read_includes(r, e, includes));
}

static int by_name(const void *a, const void *b) {
    const struct experiment *const *x = a, *const *y = b;
    int order = strcmp((*x)->name, (*y)->name);
    return order ? order : ((*x)->place.line > (*y)->place.line) * 2 - 1;
}

static bool check_names(struct reader *r) {
    size_t count = r->d->count;
    const struct experiment **order = text_allocate(count * sizeof(*order));
    for (size_t i = 0; i < count; i++) {
        order[i] = &r->d->experiments[i];
    }
    qsort(order, count, sizeof(*order), by_name);
    bool ok = true;
    for (size_t i = 1; ok && i < count; i++) {
        if (!strcmp(order[i - 1]->name, order[i]->name)) {
            ok = text_fail(r->err,
                    "%s:%d:%d: found experiment '%s' again (first on line %d), "
                    "expected "
                    "each name once",
                    r->d->path, order[i]->place.line, order[i]->place.column,
                    order[i]->name, order[i - 1]->place.line);
        }
    }
    free(order);
    return ok;
}

static bool read_experiments(struct reader *r, const struct tree_node *list) {
    if (!want_kind(r, list, TREE_LIST, "a list of experiments")) {
        return false;
    }
    if (!list->count || list->count > MOST_EXPERIMENTS) {
        return fail_at(r, list,
                list->count ? "found more than 10000 experiments, expected fewer"
                            : "found an empty list, expected at least one experiment");
    }
    r->d->experiments =
            arena_allocate(&r->d->arena, list->count * sizeof *r->d->experiments);
    for (size_t i = 0; i < list->count; i++) {
        if (!read_experiment(r, list->items[i], &r->d->experiments[r->d->count++])) {
            return false;
        }
    }
    return check_names(r);
}

static bool read_root(struct reader *r, const struct tree_node *map) {
    static const char *const keys[] = {
            "description", "baseline", "manual", "defaults", "experiments", NULL};
    struct document *d = r->d;
    if (!want_kind(r, map, TREE_MAP, "a map with 'experiments'")) {
        return false;
    }
    for (size_t i = 0; i < map->count; i++) {
        const struct tree_node *key = map->pairs[i].key;
        if (!is_one_of(keys, key->text)) {
            enum param which;
            return unknown_key(r, key, keys, false,
                    axes_find(key->text, &which)
                            ? "it under 'defaults' or in an experiment"
                            : "description, baseline, manual, defaults or experiments");
        }
    }
    const struct tree_node *description = find(map, "description");
    const struct tree_node *baseline = find(map, "baseline");
    const struct tree_node *manual = find(map, "manual");
    const struct tree_node *defaults = find(map, "defaults");
    const struct tree_node *experiments = find(map, "experiments");
    if (description && !want_kind(r, description, TREE_TEXT, "a text")) {
        return false;
    }
    if (baseline && (baseline->kind != TREE_TEXT || !*baseline->text)) {
        return refuse(r, baseline, "an experiment with one cell, or a cell id");
    }
    d->description = arena_copy(&d->arena, description ? description->text : "");
    d->baseline = arena_copy(&d->arena, baseline ? baseline->text : "");
    d->baseline_place = place_of(baseline ? baseline : map);
    if (!experiments) {
        return fail_at(r, map, "found no 'experiments', expected a list of them");
    }
    return (!manual || read_boolean(r, manual, &d->manual)) &&
           (!defaults || read_settings(r, defaults, LEVEL_DEFAULTS, &r->defaults)) &&
           read_experiments(r, experiments);
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
    return is_name(name) ||
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
    struct reader r = {.d = d, .err = err};
    ok = ok && read_root(&r, tree.root);
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

const struct experiment *experiment_list(const struct document *d, size_t *count) {
    *count = d->count;
    return d->experiments;
}

struct place experiment_baseline_place(const struct document *d) {
    return d->baseline_place;
}

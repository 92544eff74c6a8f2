#include "matrix/experiment.h"

#include <string.h>

#include "matrix/nearest.h"
#include "matrix/reader.h"
#include "matrix/status.h"

static const char *const experiment_keys[] = {
        "name", "tags", "expect", "axes", "zip", "include", "exclude", NULL};

static bool read_tags(
        struct reader *r, const struct tree_node *node, const char **out) {
    struct text tags = {0};
    text_add(&tags, " ");
    size_t count = node->kind == TREE_LIST ? node->count : 1;
    bool ok = reader_want(
            r, node, node->kind == TREE_MAP ? TREE_LIST : node->kind, "a list of tags");
    for (size_t i = 0; ok && i < count; i++) {
        const struct tree_node *tag = node->kind == TREE_LIST ? node->items[i] : node;
        const char *name = "";
        ok = (++r->values <= READER_MOST_VALUES ||
                     reader_fail(r, tag,
                             "found more than 1000000 values, expected fewer")) &&
             reader_name(r, tag, &name);
        if (ok) {
            text_addf(&tags, "%s ", name);
        }
    }
    *out = arena_copy(r->arena, text_get(&tags));
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
    reader_refuse(r, node, text_get(&expected));
    text_finish(&expected);
    return false;
}

/* Whether something else in the experiment already gives `key`'s parameter. */
static bool check_free(struct reader *r, const struct experiment *e,
        const struct tree_node *key, enum param which) {
    if (!axes_get(which)->hashed) {
        return reader_refuse(r, key,
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
           reader_refuse(r, key,
                   "each parameter once in an experiment, its axes and its zips");
}

static bool read_axis(struct reader *r, const struct experiment *e,
        const struct tree_pair *pair, struct axis_values *out) {
    const struct tree_node *list = pair->value;
    if (!reader_parameter(r, pair->key, &out->which) ||
            !check_free(r, e, pair->key, out->which) ||
            !reader_want(r, list, TREE_LIST, "a list of values")) {
        return false;
    }
    if (!list->count) {
        return reader_fail(r, list, "found an empty list, expected at least one value");
    }
    out->place = reader_place(pair->key);
    out->values = arena_allocate(r->arena, list->count * sizeof *out->values);
    for (size_t i = 0; i < list->count; i++) {
        if (!reader_value(r, out->which, list->items[i], &out->values[out->count++])) {
            return false;
        }
    }
    return true;
}

/* `axes`: every pair a dimension of its own. */
static bool read_axes(
        struct reader *r, struct experiment *e, const struct tree_node *map) {
    if (!reader_want(r, map, TREE_MAP, "a map from parameters to lists of values")) {
        return false;
    }
    for (size_t i = 0; i < map->count; i++) {
        struct axis_values *axis = arena_allocate(r->arena, sizeof *axis);
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
    if (!reader_want(
                r, map, TREE_MAP, "a map from parameters to lists of equal length")) {
        return false;
    }
    if (!map->count) {
        return reader_fail(
                r, map, "found an empty map, expected lists of equal length");
    }
    struct dimension *dimension = &e->dimensions[e->dimension_count++];
    dimension->axes = arena_allocate(r->arena, map->count * sizeof *dimension->axes);
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
                    r->path, axis->place.line, axis->place.column, axis->count,
                    axes_get(axis->which)->name, dimension->count,
                    axes_get(dimension->axes[0].which)->name);
        }
        dimension->count = axis->count;
    }
    return true;
}

static bool read_dimensions(
        struct reader *r, struct experiment *e, const struct tree_node *map) {
    const struct tree_node *axes = reader_find(map, "axes"),
                           *zips = reader_find(map, "zip");
    if (zips && !reader_want(r, zips, TREE_LIST, "a list of groups")) {
        return false;
    }
    size_t most = (axes ? axes->count : 0) + (zips ? zips->count : 0);
    if (zips && zips->count > PARAM_COUNT) {
        return reader_fail(r, zips, "found more groups than there are parameters");
    }
    e->dimensions = arena_allocate(r->arena, most * sizeof *e->dimensions);
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
    bool ok = r->values <= READER_MOST_VALUES ||
              reader_fail(r, node, "found more than 1000000 values, expected fewer");
    if (ok && which == PARAM_ENV && node->kind == TREE_MAP) {
        ok = reader_env(r, node, &text);
    } else {
        ok = ok &&
             reader_want(r, node, TREE_TEXT, "a value or a comparison such as '>=32'");
        text_add(&text, ok ? node->text : "");
    }
    if (ok && !condition_parse(out, which, text_get(&text), &wrong)) {
        ok = reader_fail(r, node, text_get(&wrong));
    }
    text_finish(&text);
    text_finish(&wrong);
    return ok;
}

static bool read_clause(
        struct reader *r, const struct tree_pair *pair, struct clause *out) {
    enum param which;
    if (!reader_parameter(r, pair->key, &which)) {
        return false;
    }
    const struct tree_node *value = pair->value;
    bool list = value->kind == TREE_LIST;
    size_t count = list ? value->count : 1;
    if (!count) {
        return reader_fail(
                r, value, "found an empty list, expected at least one value");
    }
    out->any = arena_allocate(r->arena, count * sizeof *out->any);
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
    if (!reader_want(r, map, TREE_MAP, "a map with 'when' and 'because'")) {
        return false;
    }
    for (size_t i = 0; i < map->count; i++) {
        const struct tree_node *key = map->pairs[i].key;
        if (strcmp(key->text, "when") != 0 && strcmp(key->text, "because") != 0) {
            return reader_unknown(r, key, keys, false, "'when' or 'because'");
        }
    }
    const struct tree_node *when = reader_find(map, "when"),
                           *because = reader_find(map, "because");
    if (!when || !because) {
        return reader_fail(r, map,
                when ? "found an exclude without 'because', expected its reason"
                     : "found an exclude without 'when', expected a map of "
                       "conditions");
    }
    if (because->kind != TREE_TEXT || !*because->text) {
        return reader_refuse(r, because, "the reason, as text");
    }
    if (!reader_want(r, when, TREE_MAP, "a map from parameters to values")) {
        return false;
    }
    if (!when->count) {
        return reader_fail(
                r, when, "found an empty map, expected at least one condition");
    }
    out->place = reader_place(map);
    out->because = arena_copy(r->arena, because->text);
    out->clauses = arena_allocate(r->arena, when->count * sizeof *out->clauses);
    for (size_t i = 0; i < when->count; i++) {
        if (!read_clause(r, &when->pairs[i], &out->clauses[out->count++])) {
            return false;
        }
    }
    return true;
}

static bool read_excludes(
        struct reader *r, struct experiment *e, const struct tree_node *list) {
    if (!reader_want(r, list, TREE_LIST, "a list of maps with 'when' and 'because'")) {
        return false;
    }
    e->excludes = arena_allocate(r->arena, list->count * sizeof *e->excludes);
    for (size_t i = 0; i < list->count; i++) {
        if (!read_exclude(r, list->items[i], &e->excludes[e->exclude_count++])) {
            return false;
        }
    }
    return true;
}

static bool read_includes(
        struct reader *r, struct experiment *e, const struct tree_node *list) {
    if (!reader_want(r, list, TREE_LIST, "a list of maps of parameters")) {
        return false;
    }
    e->includes = arena_allocate(r->arena, list->count * sizeof *e->includes);
    e->include_places =
            arena_allocate(r->arena, list->count * sizeof *e->include_places);
    for (size_t i = 0; i < list->count; i++) {
        const struct tree_node *map = list->items[i];
        struct settings *s = &e->includes[e->include_count];
        e->include_places[e->include_count++] = reader_place(map);
        if (!reader_settings(r, map, LEVEL_INCLUDE, s)) {
            return false;
        }
        for (size_t j = 0; j < s->count; j++) {
            if (!axes_get(s->items[j].which)->hashed) {
                return reader_refuse(r, map->pairs[j].key,
                        "a parameter that changes the cell; clocks and repeats stand "
                        "fixed in the experiment");
            }
        }
    }
    return true;
}

/* Every key that is a parameter, after the file's defaults. */
static bool read_fixed(
        struct reader *r, struct experiment *e, const struct tree_node *map) {
    size_t most = r->defaults.count + map->count;
    struct settings *s = &e->fixed;
    s->items = arena_allocate(r->arena, most * sizeof *s->items);
    for (size_t i = 0; i < r->defaults.count; i++) {
        s->items[s->count++] = r->defaults.items[i];
    }
    // Merged keys stand behind own ones in the tree, but are the farther of the two.
    for (int merged = 1; merged >= 0; merged--) {
        for (size_t i = 0; i < map->count; i++) {
            const struct tree_pair *pair = &map->pairs[i];
            enum param which;
            if (pair->merged != merged ||
                    reader_is_one_of(experiment_keys, pair->key->text)) {
                continue;
            }
            if (!axes_find(pair->key->text, &which)) {
                return reader_unknown(r, pair->key, experiment_keys, true,
                        "a parameter or a key of an experiment");
            }
            if (!reader_setting(r, pair, merged ? LEVEL_MERGED : LEVEL_OWN,
                        &s->items[s->count++])) {
                return false;
            }
        }
    }
    return reader_check_batches(r, s);
}

bool experiment_read(
        struct reader *r, const struct tree_node *map, struct experiment *e) {
    if (!reader_want(r, map, TREE_MAP, "a map with 'name' and parameters")) {
        return false;
    }
    const struct tree_node *name = reader_find(map, "name");
    const struct tree_node *tags = reader_find(map, "tags"),
                           *expect = reader_find(map, "expect");
    const struct tree_node *excludes = reader_find(map, "exclude");
    const struct tree_node *includes = reader_find(map, "include");
    e->place = reader_place(map);
    e->tags = " ";
    e->expect = -1;
    if (!name) {
        return reader_fail(r, map, "found an experiment without 'name', expected one");
    }
    return reader_name(r, name, &e->name) && (!tags || read_tags(r, tags, &e->tags)) &&
           (!expect || read_expect(r, expect, &e->expect)) && read_fixed(r, e, map) &&
           read_dimensions(r, e, map) && (!excludes || read_excludes(r, e, excludes)) &&
           (!includes || read_includes(r, e, includes));
}

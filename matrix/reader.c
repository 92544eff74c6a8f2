#include "matrix/reader.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "matrix/nearest.h"

#define LONGEST_NAME 64

struct place reader_place(const struct tree_node *node) {
    return (struct place){node->line, node->column};
}

/* Put a sentence's position in front of it; always false. */
bool reader_fail(struct reader *r, const struct tree_node *at, const char *sentence) {
    return text_fail(r->err, "%s:%d:%d: %s", r->path, at->line, at->column, sentence);
}

/* "found <node>, expected <expected>". */
bool reader_refuse(struct reader *r, const struct tree_node *at, const char *expected) {
    struct text sentence = {0};
    text_add(&sentence, "found ");
    tree_describe(at, &sentence);
    text_addf(&sentence, ", expected %s", expected);
    reader_fail(r, at, text_get(&sentence));
    text_finish(&sentence);
    return false;
}

bool reader_want(struct reader *r, const struct tree_node *node, enum tree_kind kind,
        const char *expected) {
    return node->kind == kind || reader_refuse(r, node, expected);
}

const struct tree_node *reader_find(const struct tree_node *map, const char *key) {
    for (size_t i = 0; i < map->count; i++) {
        if (!strcmp(map->pairs[i].key->text, key)) {
            return map->pairs[i].value;
        }
    }
    return NULL;
}

/* Letters, digits, `_`, `.`, `-`; no leading `.` or `-`: names become folders. */
bool reader_is_name(const char *s) {
    static const char fine[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                               "0123456789_.-";
    size_t size = strlen(s);
    return size && size <= LONGEST_NAME && strspn(s, fine) == size && *s != '.' &&
           *s != '-';
}

bool reader_name(struct reader *r, const struct tree_node *node, const char **out) {
    if (node->kind != TREE_TEXT || !reader_is_name(node->text)) {
        return reader_refuse(
                r, node, "a name of up to 64 letters, digits, '_', '.' and '-'");
    }
    *out = arena_copy(r->arena, node->text);
    return true;
}

/* The text of an `env` map, as params_set() takes it. */
bool reader_env(struct reader *r, const struct tree_node *node, struct text *out) {
    if (!reader_want(r, node, TREE_MAP, "a map from variable names to texts")) {
        return false;
    }
    json_t *map = json_object();
    bool ok = true;
    for (size_t i = 0; ok && i < node->count; i++) {
        const struct tree_node *value = node->pairs[i].value;
        ok = reader_want(r, value, TREE_TEXT, "a text") &&
             (json_object_set_new(
                      map, node->pairs[i].key->text, json_string(value->text)) == 0 ||
                     reader_refuse(r, value, "printable text"));
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
            return reader_refuse(r, item, "a file, glob or folder without a comma");
        }
        text_addf(out, "%s%s", i ? "," : "", item->text);
    }
    return node->count || reader_refuse(r, node, "at least one file");
}

bool reader_value(struct reader *r, enum param which, const struct tree_node *node,
        union value *out) {
    r->values += 1 + node->count; // a list of data files, a map of env
    if (r->values > READER_MOST_VALUES) {
        return reader_fail(r, node, "found more than 1000000 values, expected fewer");
    }
    struct text text = {0}, wrong = {0};
    bool ok = true;
    if (which == PARAM_ENV) {
        ok = reader_env(r, node, &text);
    } else if (which == PARAM_DATA && node->kind == TREE_LIST) {
        ok = data_text(r, node, &text);
    } else if (node->kind == TREE_TEXT && (*node->text || node->quoted)) {
        text_add(&text, node->text);
    } else {
        text_addf(&wrong, "found ");
        tree_describe(node, &wrong);
        text_addf(&wrong, " for %s, expected ", axes_get(which)->name);
        axes_expected(which, &wrong);
        ok = reader_fail(r, node, text_get(&wrong));
    }
    struct params scratch;
    params_init(&scratch);
    if (ok && !params_set(&scratch, which, text_get(&text), &wrong)) {
        ok = reader_fail(r, node, text_get(&wrong));
    }
    *out = scratch.values[which];
    text_finish(&text);
    text_finish(&wrong);
    return ok;
}

/* Says that `key` is unknown, with the nearest of the parameters and of `more`. */
bool reader_unknown(struct reader *r, const struct tree_node *key,
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
    reader_refuse(r, key, text_get(&whole));
    text_finish(&whole);
    return false;
}

bool reader_parameter(struct reader *r, const struct tree_node *key, enum param *out) {
    return axes_find(key->text, out) ||
           reader_unknown(r, key, NULL, true, "a parameter");
}

bool reader_setting(struct reader *r, const struct tree_pair *pair, enum level level,
        struct setting *out) {
    out->level = level;
    out->place = reader_place(pair->key);
    return reader_parameter(r, pair->key, &out->which) &&
           reader_value(r, out->which, pair->value, &out->value);
}

/* Two ways to say the same size, at one level: nobody could tell which is meant. */
bool reader_check_batches(struct reader *r, const struct settings *s) {
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
                    r->path, now->place.line, now->place.column);
        }
        seen = now;
    }
    return true;
}

/* A map of nothing but parameters. */
bool reader_settings(struct reader *r, const struct tree_node *map, enum level level,
        struct settings *out) {
    if (!reader_want(r, map, TREE_MAP, "a map of parameters")) {
        return false;
    }
    out->items = arena_allocate(r->arena, map->count * sizeof *out->items);
    for (size_t i = 0; i < map->count; i++) {
        if (!reader_setting(r, &map->pairs[i], level, &out->items[out->count++])) {
            return false;
        }
    }
    return reader_check_batches(r, out);
}

bool reader_is_one_of(const char *const *words, const char *word) {
    for (; *words; words++) {
        if (!strcmp(*words, word)) {
            return true;
        }
    }
    return false;
}

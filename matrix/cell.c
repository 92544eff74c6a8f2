#include "matrix/cell.h"

#include <stdlib.h>
#include <string.h>

#include "matrix/condition.h"
#include "matrix/expand.h"
#include "matrix/glob.h"
#include "matrix/nearest.h"

void cells_finish(struct cells *c) {
    free(c->items);
    arena_finish(&c->arena);
    *c = (struct cells){0};
}

static size_t word_count(const char *const *words) {
    size_t count = 0;
    while (words && words[count]) {
        count++;
    }
    return count;
}

/* " nearest is 'x'" where anything was offered. */
static void add_nearest(const struct nearest *n, struct text *err) {
    if (n->best) {
        text_addf(err, "; nearest is '%s'", n->best);
    }
}

static bool parse_set(const char *word, struct setting *out, struct text *err) {
    const char *equals = strchr(word, '=');
    char name[64];
    size_t size = equals ? (size_t)(equals - word) : 0;
    if (!size || size >= sizeof name) {
        text_add(err, "--set: found ");
        text_add_quoted(err, word);
        return text_fail(err, ", expected parameter=value");
    }
    memcpy(name, word, size);
    name[size] = '\0';
    out->level = LEVEL_SET;
    if (!axes_find(name, &out->which)) {
        const char *near = axes_nearest(name);
        return text_fail(err, "--set: found parameter '%s', expected a known one%s%s%s",
                name, near ? "; did you mean '" : "", near ? near : "",
                near ? "'?" : "");
    }
    struct params scratch;
    params_init(&scratch);
    struct text wrong = {0};
    bool ok = params_set(&scratch, out->which, equals + 1, &wrong) ||
              text_fail(err, "--set: %s", text_get(&wrong));
    text_finish(&wrong);
    out->value = scratch.values[out->which];
    return ok;
}

static bool parse_sets(
        const char *const *words, struct settings *out, struct text *err) {
    size_t count = word_count(words);
    out->items = text_allocate_zeroed(count, sizeof *out->items);
    for (size_t i = 0; i < count; i++) {
        struct setting *now = &out->items[out->count];
        if (!parse_set(words[i], now, err)) {
            return false;
        }
        for (size_t j = 0; j < out->count; j++) {
            enum param a = now->which, b = out->items[j].which;
            bool both = (a == PARAM_BATCH && b == PARAM_GLOBAL_BATCH) ||
                        (b == PARAM_BATCH && a == PARAM_GLOBAL_BATCH);
            if (a == b || both) {
                return text_fail(err, "--set: found both '%s' and '%s', expected one",
                        words[j], words[i]);
            }
        }
        out->count++;
    }
    return true;
}

static bool has_tag(const char *tags, const char *tag) {
    size_t size = strlen(tag);
    for (const char *at = strstr(tags, tag); size && at; at = strstr(at + 1, tag)) {
        if (at[-1] == ' ' && at[size] == ' ') {
            return true;
        }
    }
    return false;
}

/* Offer each word of " a b " by itself; the copies live in `arena`. */
static void offer_tags(struct nearest *n, const char *tags, struct arena *arena) {
    for (const char *at = tags + 1; *at;) {
        size_t size = strcspn(at, " ");
        nearest_offer(n, arena_copy_bytes(arena, at, size));
        at += size + (at[size] != '\0');
    }
}

static bool check_tag(struct cells *c, const char *tag, struct text *err) {
    struct nearest n;
    nearest_init(&n, tag);
    const char *before = NULL;
    for (size_t i = 0; i < c->count; i++) {
        const char *tags = c->items[i].tags;
        if (tags == before) { // one experiment's cells share the pointer
            continue;
        }
        before = tags;
        if (!strpbrk(tag, " ") && has_tag(tags, tag)) {
            return true;
        }
        offer_tags(&n, tags, &c->arena);
    }
    text_add(err, "--tags: found ");
    text_add_quoted(err, tag);
    text_add(err, ", expected a tag that an experiment has");
    add_nearest(&n, err);
    return false;
}

static bool word_names(const char *word, bool pattern, const struct cell *cell) {
    return !strcmp(word, cell->experiment) || !strcmp(word, cell->id) ||
           !strcmp(word, cell->hash) ||
           (pattern && (glob_matches(word, cell->experiment) ||
                               glob_matches(word, cell->id)));
}

static bool unknown_name(
        struct cells *c, const char *option, const char *word, struct text *err) {
    struct nearest n;
    nearest_init(&n, word);
    const char *before = NULL;
    bool wants_cell = strchr(word, '/') && c->count <= CELLS_MOST_OFFERED;
    for (size_t i = 0; i < c->count; i++) {
        if (c->items[i].experiment != before) {
            before = c->items[i].experiment;
            nearest_offer(&n, before);
        }
        if (wants_cell) {
            nearest_offer(&n, c->items[i].id);
        }
    }
    text_addf(err, "%s: found ", option);
    text_add_quoted(err, word);
    text_add(err, ", expected an experiment, cell id, hash or glob");
    add_nearest(&n, err);
    return false;
}

/* Set marks[i] where one of `words` names cell i; every word must name one. */
static bool mark_names(struct cells *c, const char *option, const char *const *words,
        bool *marks, struct text *err) {
    for (; words && *words; words++) {
        bool pattern = glob_is_pattern(*words), any = false;
        for (size_t i = 0; i < c->count; i++) {
            if (word_names(*words, pattern, &c->items[i])) {
                marks[i] = any = true;
            }
        }
        if (!any) {
            return unknown_name(c, option, *words, err);
        }
    }
    return true;
}

static bool select_tags(struct cells *c, const char *const *tags, struct text *err) {
    size_t count = word_count(tags);
    for (size_t i = 0; i < count; i++) {
        if (!check_tag(c, tags[i], err)) {
            return false;
        }
    }
    for (size_t i = 0; count && i < c->count; i++) {
        size_t found = 0;
        while (found < count && !has_tag(c->items[i].tags, tags[found])) {
            found++;
        }
        c->items[i].selected = c->items[i].selected && found < count;
    }
    return true;
}

/* `wanted`: cells that no word names fall out; else cells that one names do. */
static bool select_names(struct cells *c, const char *option, const char *const *words,
        bool wanted, struct text *err) {
    if (!word_count(words)) {
        return true;
    }
    bool *marks = text_allocate_zeroed(c->count, sizeof *marks);
    bool ok = mark_names(c, option, words, marks, err);
    for (size_t i = 0; i < c->count; i++) {
        c->items[i].selected = c->items[i].selected && marks[i] == wanted;
    }
    free(marks);
    return ok;
}

static bool select_where(struct cells *c, const char *const *words, struct text *err) {
    for (; words && *words; words++) {
        struct condition condition;
        struct text wrong = {0};
        bool ok = condition_parse_named(&condition, *words, &wrong) ||
                  text_fail(err, "--where: %s", text_get(&wrong));
        text_finish(&wrong);
        if (!ok) {
            return false;
        }
        for (size_t i = 0; i < c->count; i++) {
            c->items[i].selected = c->items[i].selected &&
                                   condition_matches(&condition, &c->items[i].params);
        }
    }
    return true;
}

bool cells_select(
        struct cells *c, const struct selection *selection, struct text *err) {
    const char *only = selection->only_option;
    if (!select_tags(c, selection->tags, err) ||
            !select_names(c, only ? only : "--only", selection->only, true, err) ||
            !select_names(c, "--skip", selection->skip, false, err) ||
            !select_where(c, selection->where, err)) {
        return false;
    }
    for (size_t i = 0; i < c->count; i++) {
        if (c->items[i].selected) {
            return true;
        }
    }
    return text_fail(err,
            "found a selection that leaves none of %zu cells, expected one", c->count);
}

/* Results lie in a folder of the matrix's name: two files must not share it. */
static bool check_documents(struct document *const *documents, size_t count,
        size_t most, struct text *err) {
    size_t cells = 0;
    for (size_t i = 0; i < count; i++) {
        for (size_t j = 0; j < i; j++) {
            if (!strcmp(document_name(documents[i]), document_name(documents[j]))) {
                return text_fail(err,
                        "found both '%s' and '%s', expected each name once",
                        document_path(documents[j]), document_path(documents[i]));
            }
        }
        size_t more = expand_count(documents[i]);
        if (more > most || cells + more > most) {
            return text_fail(err, "%s: found more than %zu cells, expected fewer",
                    document_path(documents[i]), most);
        }
        cells += more;
    }
    return count || text_fail(err, "found no matrix file, expected at least one");
}

bool cells_expand(struct document *const *documents, size_t count,
        const struct selection *selection, struct cells *out, struct text *err) {
    static const struct selection everything;
    selection = selection ? selection : &everything;
    *out = (struct cells){0};
    struct settings set = {0};
    size_t most = selection->most ? selection->most : CELLS_MOST;
    bool ok = check_documents(documents, count, most, err) &&
              parse_sets(selection->set, &set, err);
    size_t room = 0;
    for (size_t i = 0; ok && i < count; i++) {
        room += expand_count(documents[i]);
    }
    if (ok) {
        out->items = text_allocate(room * sizeof *out->items);
    }
    for (size_t i = 0; ok && i < count; i++) {
        ok = expand_document(documents[i], &set, out, err);
    }
    ok = ok && cells_select(out, selection, err);
    free(set.items);
    if (!ok) {
        cells_finish(out);
    }
    return ok;
}

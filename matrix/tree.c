#include "matrix/tree.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

#include "matrix/nearest.h"

struct anchor {
    const char *name;
    const struct tree_node *node;
    bool open; /* its node is still being read */
};

struct composer {
    yaml_parser_t parser;
    yaml_event_t event; /* the one being looked at; always initialised */
    struct tree *tree;
    const char *name;
    struct text *err;
    struct anchor anchors[TREE_MAX_ANCHORS];
    int anchor_count;
    size_t merged;
};

static bool fail_at(struct composer *c, yaml_mark_t mark, const char *sentence) {
    return text_fail(c->err, "%s:%zu:%zu: %s", c->name, mark.line + 1, mark.column + 1,
            sentence);
}

/* Drop the current event and read the next. */
static bool advance(struct composer *c) {
    yaml_event_delete(&c->event);
    if (yaml_parser_parse(&c->parser, &c->event)) {
        return true;
    }
    const yaml_parser_t *p = &c->parser;
    if (p->error == YAML_READER_ERROR) {
        return text_fail(c->err,
                "%s: found what is not printable UTF-8 at byte %zu, expected YAML",
                c->name, p->problem_offset);
    }
    struct text sentence = {0};
    text_addf(&sentence, "found broken YAML: %s%s%s, expected it well-formed",
            p->context ? p->context : "", p->context ? ", " : "",
            p->problem ? p->problem : "out of memory");
    fail_at(c, p->problem_mark, text_get(&sentence));
    text_finish(&sentence);
    return false;
}

static struct tree_node *new_node(struct composer *c, enum tree_kind kind) {
    struct tree_node *node = arena_allocate(&c->tree->arena, sizeof *node);
    node->kind = kind;
    node->line = (int)c->event.start_mark.line + 1;
    node->column = (int)c->event.start_mark.column + 1;
    return node;
}

/* The index of the anchor that the current event opens, −1 where it has none. */
static bool open_anchor(struct composer *c, const yaml_char_t *name, int *index) {
    *index = -1;
    if (!name) {
        return true;
    }
    if (c->anchor_count == TREE_MAX_ANCHORS) {
        return fail_at(
                c, c->event.start_mark, "found more than 256 anchors, expected fewer");
    }
    *index = c->anchor_count++;
    c->anchors[*index] = (struct anchor){
            .name = arena_copy(&c->tree->arena, (const char *)name), .open = true};
    return true;
}

static void close_anchor(struct composer *c, int index, const struct tree_node *node) {
    if (index >= 0) {
        c->anchors[index].node = node;
        c->anchors[index].open = false;
    }
}

static const struct tree_node *resolve_alias(struct composer *c) {
    const char *name = (const char *)c->event.data.alias.anchor;
    for (int i = c->anchor_count; i-- > 0;) {
        if (!strcmp(c->anchors[i].name, name)) {
            if (c->anchors[i].open) {
                fail_at(c, c->event.start_mark,
                        "found an alias inside its own anchor, expected no cycle");
                return NULL;
            }
            return c->anchors[i].node;
        }
    }
    struct nearest n;
    nearest_init(&n, name);
    for (int i = 0; i < c->anchor_count; i++) {
        nearest_offer(&n, c->anchors[i].name);
    }
    struct text sentence = {0};
    text_add(&sentence, "found alias ");
    text_add_quoted(&sentence, name);
    text_add(&sentence, ", expected an anchor that stands before it");
    if (nearest_likely(&n)) {
        text_addf(&sentence, "; did you mean '%s'?", nearest_likely(&n));
    }
    fail_at(c, c->event.start_mark, text_get(&sentence));
    text_finish(&sentence);
    return NULL;
}

static const struct tree_node *compose(struct composer *c, int depth);

static const struct tree_node *compose_text(struct composer *c) {
    const yaml_char_t *value = c->event.data.scalar.value;
    size_t size = c->event.data.scalar.length;
    if (memchr(value, '\0', size)) {
        fail_at(c, c->event.start_mark,
                "found a NUL in a text, expected printable text");
        return NULL;
    }
    int anchor;
    if (!open_anchor(c, c->event.data.scalar.anchor, &anchor)) {
        return NULL;
    }
    struct tree_node *node = new_node(c, TREE_TEXT);
    node->text = arena_copy_bytes(&c->tree->arena, (const char *)value, size);
    node->quoted = c->event.data.scalar.style != YAML_PLAIN_SCALAR_STYLE;
    close_anchor(c, anchor, node);
    return node;
}

/* A list that grows on the heap and ends in the arena. */
static const struct tree_node *compose_list(struct composer *c, int depth) {
    int anchor;
    if (!open_anchor(c, c->event.data.sequence_start.anchor, &anchor)) {
        return NULL;
    }
    struct tree_node *node = new_node(c, TREE_LIST);
    const struct tree_node **items = NULL;
    size_t count = 0, capacity = 0;
    bool ok = true;
    for (;;) {
        ok = advance(c);
        if (!ok || c->event.type == YAML_SEQUENCE_END_EVENT) {
            break;
        }
        const struct tree_node *item = compose(c, depth + 1);
        ok = item != NULL;
        if (!ok) {
            break;
        }
        if (count == capacity) {
            capacity = capacity ? capacity * 2 : 8;
            items = text_reallocate(items, capacity * sizeof(*items));
        }
        items[count++] = item;
    }
    if (ok) {
        node->items = arena_allocate(&c->tree->arena, count * sizeof(*items));
        if (count) {
            memcpy(node->items, items, count * sizeof(*items));
        }
        node->count = count;
        close_anchor(c, anchor, node);
    }
    free(items);
    return ok ? node : NULL;
}

static const struct tree_pair *find_pair(
        const struct tree_pair *pairs, size_t count, const char *key) {
    for (size_t i = 0; i < count; i++) {
        if (!strcmp(pairs[i].key->text, key)) {
            return &pairs[i];
        }
    }
    return NULL;
}

static bool fail_node(
        struct composer *c, const struct tree_node *node, const char *sentence) {
    return text_fail(
            c->err, "%s:%d:%d: %s", c->name, node->line, node->column, sentence);
}

/* Add what `from` has and `pairs` lacks: own keys, and earlier maps, win. */
static bool merge(struct composer *c, struct tree_pair *pairs, size_t *count,
        const struct tree_node *from) {
    if (from->kind != TREE_MAP) {
        return fail_node(
                c, from, "found a merge of what is no map, expected a map or several");
    }
    size_t own = *count;
    for (size_t i = 0; i < from->count; i++) {
        if (++c->merged > TREE_MAX_MERGED) {
            return fail_node(c, from, "found merges without end, expected a few");
        }
        if (find_pair(pairs, own, from->pairs[i].key->text)) {
            continue;
        }
        if (*count == TREE_MAX_KEYS) {
            return fail_node(c, from,
                    "found more than 1000 keys in a map, merged ones included, "
                    "expected "
                    "fewer");
        }
        pairs[*count] = from->pairs[i];
        pairs[(*count)++].merged = true;
    }
    return true;
}

static bool merge_all(struct composer *c, struct tree_pair *pairs, size_t *count,
        const struct tree_node *value) {
    if (value->kind != TREE_LIST) {
        return merge(c, pairs, count, value);
    }
    for (size_t i = 0; i < value->count; i++) {
        if (!merge(c, pairs, count, value->items[i])) {
            return false;
        }
    }
    return true;
}

/* The key that the current event starts; NULL where it is no fresh text. */
static const struct tree_node *compose_key(
        struct composer *c, const struct tree_pair *pairs, size_t count) {
    if (c->event.type != YAML_SCALAR_EVENT) {
        fail_at(c, c->event.start_mark, "found a key that is no text, expected a name");
        return NULL;
    }
    if (count == TREE_MAX_KEYS) {
        fail_at(c, c->event.start_mark,
                "found more than 1000 keys in a map, expected fewer");
        return NULL;
    }
    const struct tree_node *key = compose(c, TREE_MAX_DEPTH);
    const struct tree_pair *first = key ? find_pair(pairs, count, key->text) : NULL;
    if (first) {
        struct text sentence = {0};
        text_add(&sentence, "found key ");
        text_add_quoted(&sentence, key->text);
        text_addf(&sentence, " again (first on line %d), expected each key once",
                first->key->line);
        fail_node(c, key, text_get(&sentence));
        text_finish(&sentence);
        return NULL;
    }
    return key;
}

static bool compose_pairs(struct composer *c, struct tree_pair *pairs, size_t *count,
        const struct tree_node **merges, int depth) {
    for (;;) {
        if (!advance(c)) {
            return false;
        }
        if (c->event.type == YAML_MAPPING_END_EVENT) {
            return true;
        }
        const struct tree_node *key = compose_key(c, pairs, *count);
        if (!key || !advance(c)) {
            return false;
        }
        const struct tree_node *value = compose(c, depth + 1);
        if (!value) {
            return false;
        }
        if (!strcmp(key->text, "<<") && !key->quoted) {
            if (*merges) {
                return fail_node(c, key,
                        "found key '<<' again, expected one, with a list of maps");
            }
            *merges = value;
            continue;
        }
        pairs[(*count)++] = (struct tree_pair){.key = key, .value = value};
    }
}

static const struct tree_node *compose_map(struct composer *c, int depth) {
    int anchor;
    if (!open_anchor(c, c->event.data.mapping_start.anchor, &anchor)) {
        return NULL;
    }
    struct tree_node *node = new_node(c, TREE_MAP);
    const struct tree_node *merges = NULL;
    struct tree_pair *pairs = text_allocate(TREE_MAX_KEYS * sizeof *pairs);
    size_t count = 0;
    bool ok = compose_pairs(c, pairs, &count, &merges, depth) &&
              (!merges || merge_all(c, pairs, &count, merges));
    if (ok) {
        node->pairs = arena_allocate(&c->tree->arena, count * sizeof *pairs);
        memcpy(node->pairs, pairs, count * sizeof *pairs);
        node->count = count;
        close_anchor(c, anchor, node);
    }
    free(pairs);
    return ok ? node : NULL;
}

/* The node that the current event starts; the event after it is not read yet. */
static const struct tree_node *compose(struct composer *c, int depth) {
    const yaml_char_t *tag = NULL;
    switch (c->event.type) {
    case YAML_ALIAS_EVENT:
        return resolve_alias(c);
    case YAML_SCALAR_EVENT:
        tag = c->event.data.scalar.tag;
        break;
    case YAML_SEQUENCE_START_EVENT:
        tag = c->event.data.sequence_start.tag;
        break;
    default:
        assert(c->event.type == YAML_MAPPING_START_EVENT);
        tag = c->event.data.mapping_start.tag;
        break;
    }
    if (tag) {
        fail_at(c, c->event.start_mark, "found a YAML tag, expected a plain value");
        return NULL;
    }
    if (c->event.type == YAML_SCALAR_EVENT) {
        return compose_text(c);
    }
    if (depth >= TREE_MAX_DEPTH) {
        fail_at(c, c->event.start_mark,
                "found lists and maps nested more than 64 deep, expected fewer");
        return NULL;
    }
    return c->event.type == YAML_SEQUENCE_START_EVENT ? compose_list(c, depth)
                                                      : compose_map(c, depth);
}

static bool compose_stream(struct composer *c) {
    if (!advance(c) || !advance(c)) { // the stream's start, the document's start
        return false;
    }
    if (c->event.type == YAML_STREAM_END_EVENT) {
        return true;
    }
    if (!advance(c)) {
        return false;
    }
    c->tree->root = compose(c, 0);
    if (!c->tree->root || !advance(c) || !advance(c)) { // the document's end, then …
        return false;
    }
    return c->event.type == YAML_STREAM_END_EVENT ||
           fail_at(c, c->event.start_mark, "found a second document, expected one");
}

/* libyaml takes seconds over thousands of directives, and matrix files need none. */
static bool check_directives(
        const char *name, const char *bytes, size_t size, struct text *err) {
    int line = 1;
    for (size_t i = 0; i < size; i++) {
        if (bytes[i] == '%' && (i == 0 || bytes[i - 1] == '\n')) {
            return text_fail(err,
                    "%s:%d:1: found a line that starts with '%%', expected no "
                    "YAML directive",
                    name, line);
        }
        line += bytes[i] == '\n';
    }
    return true;
}

bool tree_parse(struct tree *t, const char *name, const char *bytes, size_t size,
        struct text *err) {
    *t = (struct tree){0};
    if (size > TREE_MAX_BYTES) {
        return text_fail(err, "%s: found %zu bytes, expected at most %d", name, size,
                TREE_MAX_BYTES);
    }
    if (!check_directives(name, bytes, size, err)) {
        return false;
    }
    struct composer *c = text_allocate_zeroed(1, sizeof *c);
    c->tree = t;
    c->name = name;
    c->err = err;
    bool ok = yaml_parser_initialize(&c->parser);
    if (ok) {
        yaml_parser_set_encoding(&c->parser, YAML_UTF8_ENCODING);
        yaml_parser_set_input_string(&c->parser, (const unsigned char *)bytes, size);
        ok = compose_stream(c);
        yaml_event_delete(&c->event);
    } else {
        text_fail(err, "%s: out of memory", name);
    }
    yaml_parser_delete(&c->parser);
    free(c);
    if (!ok) {
        tree_finish(t);
    }
    return ok;
}

void tree_finish(struct tree *t) {
    arena_finish(&t->arena);
    *t = (struct tree){0};
}

void tree_describe(const struct tree_node *node, struct text *out) {
    if (node->kind == TREE_TEXT && (*node->text || node->quoted)) {
        text_add_quoted(out, node->text);
    } else {
        text_add(out, node->kind == TREE_TEXT   ? "nothing"
                      : node->kind == TREE_LIST ? "a list"
                                                : "a map");
    }
}

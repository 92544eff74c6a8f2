/*
 * A YAML document as a tree of texts, lists and maps, each with its place. Nothing is
 * interpreted: `on`, `1e-3` and `~` are texts. The subset: one document, text keys, no
 * tags, no directives; anchors are shared, not copied; `<<` merges maps. What could
 * make a reader hang or run out of memory (depth over 64, hundreds of anchors, merges
 * that multiply) is refused in a sentence.
 */
#ifndef MATRIX_TREE_H
#define MATRIX_TREE_H

#include <stdbool.h>
#include <stddef.h>

#include "matrix/arena.h"
#include "matrix/text.h"

#define TREE_MAX_BYTES (1 << 20)
#define TREE_MAX_DEPTH 64
#define TREE_MAX_ANCHORS 256
#define TREE_MAX_KEYS 1000     /* of one map */
#define TREE_MAX_MERGED 100000 /* pairs that merges look at, in all */

enum tree_kind { TREE_TEXT, TREE_LIST, TREE_MAP };

struct tree_node {
    enum tree_kind kind;
    int line, column;               /* from 1 */
    const char *text;               /* TREE_TEXT: NUL-terminated, holds no NUL */
    bool quoted;                    /* TREE_TEXT: written with quotes, so '' is meant */
    size_t count;                   /* items or pairs */
    const struct tree_node **items; /* TREE_LIST */
    struct tree_pair *pairs;        /* TREE_MAP: own keys first, in file order */
};

struct tree_pair {
    const struct tree_node *key; /* TREE_TEXT */
    const struct tree_node *value;
    bool merged; /* came through `<<` */
};

struct tree {
    const struct tree_node *root; /* NULL for an empty file */
    struct arena arena;           /* owns every node */
};

/*
 * Parse `bytes`. Sentences start with "name:line:column: ". On failure `t` is zeroed,
 * else the caller owes tree_finish().
 */
bool tree_parse(struct tree *t, const char *name, const char *bytes, size_t size,
        struct text *err);

/* Free every node; a zeroed tree is fine. */
void tree_finish(struct tree *t);

/* What a node is, for sentences: "'x'", "a list", "a map", "nothing". */
void tree_describe(const struct tree_node *node, struct text *out);

#endif

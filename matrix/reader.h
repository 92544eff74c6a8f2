/*
 * Values out of a matrix file's tree, checked as they are read. document.c and
 * experiment.c read through here, so that every refusal has the same shape:
 * "path:line:column: found …, expected …".
 */
#ifndef MATRIX_READER_H
#define MATRIX_READER_H

#include <stdbool.h>
#include <stddef.h>

#include "matrix/arena.h"
#include "matrix/axes.h"
#include "matrix/experiment.h"
#include "matrix/text.h"
#include "matrix/tree.h"

#define READER_MOST_VALUES 1000000 /* in a file, once its aliases are followed */

struct reader {
    const char *path;         /* for sentences */
    struct arena *arena;      /* what is read lives here */
    struct text *err;         /* where sentences go */
    struct settings defaults; /* of the file */
    size_t values;            /* read so far */
};

struct place reader_place(const struct tree_node *node);

/* Add "path:line:column: sentence"; always false. */
bool reader_fail(struct reader *r, const struct tree_node *at, const char *sentence);

/* Add "…: found <at>, expected <expected>"; always false. */
bool reader_refuse(struct reader *r, const struct tree_node *at, const char *expected);

/* Refuse `key`, with the nearest of `more` (NULL-terminated, or NULL) and, where
 * `parameters`, of the parameters; always false. */
bool reader_unknown(struct reader *r, const struct tree_node *key,
        const char *const *more, bool parameters, const char *expected);

/* Whether `node` is of that kind; refused where it is not. */
bool reader_want(struct reader *r, const struct tree_node *node, enum tree_kind kind,
        const char *expected);

/* The value of `key` in a map, NULL where it has none. */
const struct tree_node *reader_find(const struct tree_node *map, const char *key);

bool reader_is_one_of(const char *const *words, const char *word);

/* Up to 64 letters, digits, `_`, `.`, `-`, none of the last two first: names become
 * folders. */
bool reader_is_name(const char *s);
bool reader_name(struct reader *r, const struct tree_node *node, const char **out);

/* A key that must be a parameter. */
bool reader_parameter(struct reader *r, const struct tree_node *key, enum param *out);

/* A parameter's value: a text, for `env` a map, for `data` a list too. */
bool reader_value(struct reader *r, enum param which, const struct tree_node *node,
        union value *out);

/* Append an `env` map as params_set() takes it. */
bool reader_env(struct reader *r, const struct tree_node *node, struct text *out);

/* One pair, and a map of nothing but parameters. */
bool reader_setting(struct reader *r, const struct tree_pair *pair, enum level level,
        struct setting *out);
bool reader_settings(struct reader *r, const struct tree_node *map, enum level level,
        struct settings *out);

/* Refuse batch and global_batch at one level: nobody could tell which is meant. */
bool reader_check_batches(struct reader *r, const struct settings *s);

#endif

/*
 * One comparison of a parameter: what `--where batch>=16` and an exclude's `when` say.
 */
#ifndef MATRIX_CONDITION_H
#define MATRIX_CONDITION_H

#include <stdbool.h>

#include "matrix/axes.h"
#include "matrix/text.h"

enum condition_op {
    CONDITION_EQUAL,
    CONDITION_NOT_EQUAL,
    CONDITION_LESS,
    CONDITION_AT_MOST,
    CONDITION_GREATER,
    CONDITION_AT_LEAST
};

struct condition {
    enum param which;
    enum condition_op op;
    const char *pattern; /* a glob on the text form, interned; NULL: compare `value` */
    union value value;
};

/*
 * From a parameter and "[op]value", op one of = != < <= > >= and equality where none
 * stands. Values are checked like any value of that parameter, globs may stand with
 * = and !=. The sentence has no position.
 */
bool condition_parse(
        struct condition *c, enum param which, const char *text, struct text *err);

/* The same with the parameter's name in front: "batch>=16". */
bool condition_parse_named(struct condition *c, const char *text, struct text *err);

/* `batch: max` has no order: it only equals itself. */
bool condition_matches(const struct condition *c, const struct params *p);

#endif

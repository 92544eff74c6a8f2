#include "matrix/condition.h"

#include <string.h>

#include "matrix/glob.h"

static const struct {
    const char *sign;
    enum condition_op op;
} signs[] = {
        {"!=", CONDITION_NOT_EQUAL},
        {"<=", CONDITION_AT_MOST},
        {">=", CONDITION_AT_LEAST},
        {"=", CONDITION_EQUAL},
        {"<", CONDITION_LESS},
        {">", CONDITION_GREATER},
};

/* Past the operator that `text` starts with, if any. */
static const char *take_op(const char *text, enum condition_op *op) {
    *op = CONDITION_EQUAL;
    for (size_t i = 0; i < sizeof signs / sizeof *signs; i++) {
        size_t size = strlen(signs[i].sign);
        if (!strncmp(text, signs[i].sign, size)) {
            *op = signs[i].op;
            return text + size;
        }
    }
    return text;
}

bool condition_parse(
        struct condition *c, enum param which, const char *text, struct text *err) {
    const struct axis *axis = axes_get(which);
    const char *value = take_op(text, &c->op);
    bool orders = c->op != CONDITION_EQUAL && c->op != CONDITION_NOT_EQUAL;
    bool is_number = axis->type == AXIS_INTEGER || axis->type == AXIS_REAL;
    c->which = which;
    c->pattern = NULL;
    if (orders && !is_number) {
        return text_fail(err, "found an order on %s, expected = or !=", axis->name);
    }
    // An env or a data value may itself hold `*`; as a pattern it still equals itself,
    // but `[` in it would not.
    if (!orders && glob_is_pattern(value) && which != PARAM_ENV) {
        c->pattern = axes_intern(value);
        return true;
    }
    struct params scratch;
    params_init(&scratch);
    if (!params_set(&scratch, which, value, err)) {
        return false;
    }
    c->value = scratch.values[which];
    return true;
}

bool condition_parse_named(struct condition *c, const char *text, struct text *err) {
    size_t size = strcspn(text, "!=<>");
    char name[64];
    if (!text[size] || size >= sizeof name) {
        text_add(err, "found ");
        text_add_quoted(err, text);
        return text_fail(err, ", expected a comparison such as batch>=16");
    }
    memcpy(name, text, size);
    name[size] = '\0';
    enum param which;
    if (!axes_find(name, &which)) {
        const char *nearest = axes_nearest(name);
        return text_fail(err, "found parameter '%s', expected a known one%s%s%s", name,
                nearest ? "; did you mean '" : "", nearest ? nearest : "",
                nearest ? "'?" : "");
    }
    if (text[size] == '!' && text[size + 1] != '=') {
        text_add(err, "found ");
        text_add_quoted(err, text);
        return text_fail(err, ", expected a comparison such as batch>=16");
    }
    return condition_parse(c, which, text + size, err);
}

static bool pattern_matches(const struct condition *c, const struct params *p) {
    switch (axes_get(c->which)->type) {
    case AXIS_CHOICE:
        return glob_matches(c->pattern, params_choice(p, c->which));
    case AXIS_TEXT:
        return glob_matches(c->pattern, params_text(p, c->which));
    default: {
        struct text shown = {0};
        params_show(p, c->which, &shown);
        bool matches = glob_matches(c->pattern, text_get(&shown));
        text_finish(&shown);
        return matches;
    }
    }
}

/* −1, 0 or 1, and 2 where the two have no order but are not equal. */
static int compare(const struct condition *c, const struct params *p) {
    union value v = p->values[c->which];
    switch (axes_get(c->which)->type) {
    case AXIS_TEXT:
        return v.text == c->value.text ? 0 : 2;
    case AXIS_REAL:
        return (v.real > c->value.real) - (v.real < c->value.real);
    default:
        if (v.integer != c->value.integer && c->which == PARAM_BATCH &&
                (v.integer == -1 || c->value.integer == -1)) {
            return 2;
        }
        return (v.integer > c->value.integer) - (v.integer < c->value.integer);
    }
}

bool condition_matches(const struct condition *c, const struct params *p) {
    int order = c->pattern ? pattern_matches(c, p) ? 0 : 2 : compare(c, p);
    switch (c->op) {
    case CONDITION_EQUAL:
        return order == 0;
    case CONDITION_NOT_EQUAL:
        return order != 0;
    case CONDITION_LESS:
        return order == -1;
    case CONDITION_AT_MOST:
        return order == -1 || order == 0;
    case CONDITION_GREATER:
        return order == 1;
    default:
        return order == 1 || order == 0;
    }
}

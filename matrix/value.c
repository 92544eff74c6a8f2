#include "matrix/value.h"

#include <ctype.h>
#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "matrix/nearest.h"

#define LONGEST_TEXT 1024

/* "found precision 'bf61', expected fp32, …", and the nearest choice where one is. */
static bool refuse(
        enum param which, const char *found, const char *nearest, struct text *err) {
    text_addf(err, "found %s ", axes_get(which)->name);
    text_add_quoted(err, found);
    text_add(err, ", expected ");
    axes_expected(which, err);
    if (nearest) {
        text_addf(err, "; did you mean '%s'?", nearest);
    }
    return false;
}

static bool read_choice(
        enum param which, const char *text, union value *out, struct text *err) {
    const struct axis *axis = axes_get(which);
    struct nearest n;
    nearest_init(&n, text);
    for (int i = 0; axis->choices[i]; i++) {
        if (!strcmp(axis->choices[i], text)) {
            out->integer = i;
            return true;
        }
        nearest_offer(&n, axis->choices[i]);
    }
    return refuse(which, text, nearest_likely(&n), err);
}

/* A size with a binary unit behind it; plain digits end where a number's would. */
static const char *skip_unit(enum param which, const char *end, int64_t *factor) {
    static const char *const units[] = {"KiB", "MiB", "GiB", "TiB"};
    *factor = 1;
    for (int i = 0; which == PARAM_MEMORY_LIMIT && i < 4; i++) {
        if (!strcmp(end, units[i])) {
            *factor = (int64_t)1 << 10 * (i + 1);
            return end + 3;
        }
    }
    return end;
}

static bool read_integer(
        enum param which, const char *text, union value *out, struct text *err) {
    const struct axis *axis = axes_get(which);
    if (which == PARAM_BATCH && !strcmp(text, "max")) {
        out->integer = -1;
        return true;
    }
    const char *digits = text + (*text == '-' || *text == '+');
    if (!isdigit((unsigned char)*digits)) {
        return refuse(which, text, NULL, err);
    }
    char *number_end;
    int64_t factor;
    errno = 0;
    long long x = strtoll(text, &number_end, 10);
    const char *end = skip_unit(which, number_end, &factor);
    double value = (double)x * (double)factor;
    if (errno || *end || !(value >= axis->minimum && value <= axis->maximum)) {
        return refuse(which, text, NULL, err);
    }
    out->integer = x * factor;
    return true;
}

static bool read_real(
        enum param which, const char *text, union value *out, struct text *err) {
    const struct axis *axis = axes_get(which);
    // strtod() alone would also take "nan", "0x1p3" and leading space.
    if (!*text || strspn(text, "0123456789+-.eE") != strlen(text)) {
        return refuse(which, text, NULL, err);
    }
    char *end;
    double x = strtod(text, &end);
    if (*end || end == text || !(x >= axis->minimum && x <= axis->maximum)) {
        return refuse(which, text, NULL, err);
    }
    out->real = x == 0 ? 0 : x; // no negative zero: one value, one text
    return true;
}

static bool is_printable(const char *text) {
    size_t size = strlen(text);
    if (!size || size > LONGEST_TEXT) {
        return false;
    }
    while (size) {
        size_t length = text_utf8_length(text, size);
        if (!length || (unsigned char)*text < 0x20 || *text == 0x7f) {
            return false;
        }
        text += length;
        size -= length;
    }
    return true;
}

/* "85/10/5" without signs, spaces or leading zeros. */
static bool canonical_split(const char *text, struct text *out) {
    int sum = 0;
    for (int i = 0; i < 3; i++) {
        size_t digits = strspn(text, "0123456789");
        if (!digits || digits > 3) {
            return false;
        }
        int percent = (int)strtol(text, NULL, 10);
        if (i == 0 && percent == 0) {
            return false;
        }
        sum += percent;
        text_addf(out, "%s%d", i ? "/" : "", percent);
        text += digits;
        if (*text != (i < 2 ? '/' : '\0')) {
            return false;
        }
        text++;
    }
    return sum == 100;
}

static bool canonical_tokenizer(const char *text, struct text *out) {
    size_t size = strlen(text);
    if (!strcmp(text, "bytes") || (size > 5 && !strcmp(text + size - 5, ".json"))) {
        text_add(out, text);
        return true;
    }
    if (!size || size > 7 || strspn(text, "0123456789") != size) {
        return false;
    }
    long vocabulary = strtol(text, NULL, 10);
    text_addf(out, "%ld", vocabulary);
    return vocabulary >= 257 && vocabulary <= 1000000;
}

static bool is_variable_name(const char *name) {
    if (!isalpha((unsigned char)*name) && *name != '_') {
        return false;
    }
    for (; *name; name++) {
        if (!isalnum((unsigned char)*name) && *name != '_') {
            return false;
        }
    }
    return true;
}

/* The worker learns its rank and event file by names that start so. */
static bool is_ours(const char *name) {
    return !strncmp(name, "LM_", 3);
}

static bool canonical_env(const char *text, struct text *out) {
    json_t *map = json_loads(text, JSON_REJECT_DUPLICATES, NULL);
    bool ok = json_is_object(map);
    const char *name;
    json_t *value;
    json_object_foreach(map, name, value) {
        ok = ok && json_is_string(value) && is_variable_name(name) && !is_ours(name);
    }
    if (ok) {
        char *compact = json_dumps(map, JSON_COMPACT | JSON_SORT_KEYS);
        text_add(out, compact);
        free(compact);
    }
    json_decref(map);
    return ok;
}

/* Of a map that is one, what is wrong is the name: say which. */
static bool refuse_env(const char *text, struct text *err) {
    json_t *map = json_loads(text, JSON_REJECT_DUPLICATES, NULL), *value;
    const char *name, *ours = NULL;
    json_object_foreach(map, name, value) {
        ours = !ours && is_ours(name) ? name : ours;
    }
    if (ours) {
        text_add(err, "found the variable ");
        text_add_quoted(err, ours);
        text_add(err, " in env, expected names that do not start with LM_, which are "
                      "the runner's own");
    } else {
        refuse(PARAM_ENV, text, NULL, err);
    }
    json_decref(map);
    return false;
}

static bool read_text(
        enum param which, const char *text, union value *out, struct text *err) {
    struct text canonical = {0};
    bool ok = is_printable(text);
    switch (ok ? (int)which : -1) {
    case PARAM_SPLIT:
        ok = canonical_split(text, &canonical);
        break;
    case PARAM_TOKENIZER:
        ok = canonical_tokenizer(text, &canonical);
        break;
    case PARAM_ENV:
        ok = canonical_env(text, &canonical);
        break;
    default:
        text_add(&canonical, text);
    }
    if (ok) {
        out->text = axes_intern(text_get(&canonical));
    } else if (which == PARAM_ENV) {
        refuse_env(text, err);
    } else {
        refuse(which, text, NULL, err);
    }
    text_finish(&canonical);
    return ok;
}

bool value_read(
        enum param which, const char *text, union value *out, struct text *err) {
    switch (axes_get(which)->type) {
    case AXIS_CHOICE:
        return read_choice(which, text, out, err);
    case AXIS_INTEGER:
        return read_integer(which, text, out, err);
    case AXIS_REAL:
        return read_real(which, text, out, err);
    default:
        return read_text(which, text, out, err);
    }
}

void value_show(enum param which, union value v, struct text *out) {
    const struct axis *axis = axes_get(which);
    switch (axis->type) {
    case AXIS_CHOICE:
        text_add(out, axis->choices[v.integer]);
        break;
    case AXIS_INTEGER:
        if (which == PARAM_BATCH && v.integer == -1) {
            text_add(out, "max");
        } else {
            text_addf(out, "%lld", (long long)v.integer);
        }
        break;
    case AXIS_REAL:
        text_add_real(out, v.real);
        break;
    case AXIS_TEXT:
        text_add(out, v.text);
        break;
    }
}

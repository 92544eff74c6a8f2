/* The values of a cell's parameters: set from texts, shown, hashed, checked. */
#include <assert.h>
#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <openssl/sha.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "matrix/axes.h"
#include "matrix/nearest.h"

#define LONGEST_TEXT 1024

static pthread_once_t once = PTHREAD_ONCE_INIT;
static struct params defaults;

static void make_defaults(void) {
    for (int i = 0; i < PARAM_COUNT; i++) {
        defaults.values[i] = axes_get((enum param)i)->fallback;
        if (axes_get((enum param)i)->type == AXIS_TEXT) {
            defaults.values[i].text = axes_intern(defaults.values[i].text);
        }
    }
}

void params_init(struct params *p) {
    pthread_once(&once, make_defaults);
    *p = defaults;
}

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

static bool set_choice(
        struct params *p, enum param which, const char *text, struct text *err) {
    const struct axis *axis = axes_get(which);
    struct nearest n;
    nearest_init(&n, text);
    for (int i = 0; axis->choices[i]; i++) {
        if (!strcmp(axis->choices[i], text)) {
            p->values[which].integer = i;
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

static bool set_integer(
        struct params *p, enum param which, const char *text, struct text *err) {
    const struct axis *axis = axes_get(which);
    if (which == PARAM_BATCH && !strcmp(text, "max")) {
        p->values[which].integer = -1;
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
    p->values[which].integer = x * factor;
    return true;
}

static bool set_real(
        struct params *p, enum param which, const char *text, struct text *err) {
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
    p->values[which].real = x == 0 ? 0 : x; // no negative zero: one value, one text
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

static bool canonical_env(const char *text, struct text *out) {
    json_t *map = json_loads(text, JSON_REJECT_DUPLICATES, NULL);
    bool ok = json_is_object(map);
    const char *name;
    json_t *value;
    json_object_foreach(map, name, value) {
        // The worker learns its rank and event file by names that start so.
        bool ours = !strncmp(name, "LM_", 3);
        ok = ok && json_is_string(value) && is_variable_name(name) && !ours;
    }
    if (ok) {
        char *compact = json_dumps(map, JSON_COMPACT | JSON_SORT_KEYS);
        text_add(out, compact);
        free(compact);
    }
    json_decref(map);
    return ok;
}

static bool set_text(
        struct params *p, enum param which, const char *text, struct text *err) {
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
        p->values[which].text = axes_intern(text_get(&canonical));
    } else {
        refuse(which, text, NULL, err);
    }
    text_finish(&canonical);
    return ok;
}

bool params_set(
        struct params *p, enum param which, const char *text, struct text *err) {
    switch (axes_get(which)->type) {
    case AXIS_CHOICE:
        return set_choice(p, which, text, err);
    case AXIS_INTEGER:
        return set_integer(p, which, text, err);
    case AXIS_REAL:
        return set_real(p, which, text, err);
    default:
        return set_text(p, which, text, err);
    }
}

void params_show(const struct params *p, enum param which, struct text *out) {
    const struct axis *axis = axes_get(which);
    union value v = p->values[which];
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

int64_t params_integer(const struct params *p, enum param which) {
    assert(axes_get(which)->type != AXIS_TEXT);
    return axes_get(which)->type == AXIS_REAL ? (int64_t)p->values[which].real
                                              : p->values[which].integer;
}

double params_real(const struct params *p, enum param which) {
    assert(axes_get(which)->type != AXIS_TEXT);
    return axes_get(which)->type == AXIS_REAL ? p->values[which].real
                                              : (double)p->values[which].integer;
}

const char *params_text(const struct params *p, enum param which) {
    assert(axes_get(which)->type == AXIS_TEXT);
    return p->values[which].text;
}

const char *params_choice(const struct params *p, enum param which) {
    const struct axis *axis = axes_get(which);
    assert(axis->type == AXIS_CHOICE);
    return axis->choices[p->values[which].integer];
}

bool params_is_default(const struct params *p, enum param which) {
    const struct axis *axis = axes_get(which);
    switch (axis->type) {
    case AXIS_REAL:
        return p->values[which].real == axis->fallback.real;
    case AXIS_TEXT:
        return !strcmp(p->values[which].text, axis->fallback.text);
    default:
        return p->values[which].integer == axis->fallback.integer;
    }
}

int64_t params_kv_heads(const struct params *p) {
    int64_t n = params_integer(p, PARAM_KV_HEADS);
    return n ? n : params_integer(p, PARAM_HEADS);
}

int64_t params_d_ff(const struct params *p) {
    int64_t n = params_integer(p, PARAM_D_FF);
    return n ? n : 4 * params_integer(p, PARAM_D_MODEL);
}

int64_t params_batch(const struct params *p) {
    int64_t whole = params_integer(p, PARAM_GLOBAL_BATCH);
    return whole ? whole / (params_integer(p, PARAM_RANKS) *
                                   params_integer(p, PARAM_ACCUMULATE))
                 : params_integer(p, PARAM_BATCH);
}

json_t *params_value_to_json(const struct params *p, enum param which) {
    union value v = p->values[which];
    switch (axes_get(which)->type) {
    case AXIS_CHOICE:
        return json_string(params_choice(p, which));
    case AXIS_INTEGER:
        return which == PARAM_BATCH && v.integer == -1 ? json_string("max")
                                                       : json_integer(v.integer);
    case AXIS_REAL:
        return json_real(v.real);
    default:
        return which == PARAM_ENV ? json_loads(v.text, 0, NULL) : json_string(v.text);
    }
}

json_t *params_to_json(const struct params *p, bool changed_only) {
    json_t *object = json_object();
    for (int i = 0; i < PARAM_COUNT; i++) {
        enum param which = (enum param)i;
        if (!changed_only || !params_is_default(p, which)) {
            json_object_set_new(
                    object, axes_get(which)->name, params_value_to_json(p, which));
        }
    }
    return object;
}

static bool set_json(
        struct params *p, enum param which, const json_t *value, struct text *err) {
    bool wants_text = axes_get(which)->type == AXIS_TEXT ||
                      axes_get(which)->type == AXIS_CHOICE || which == PARAM_BATCH;
    struct text shown = {0};
    bool ok = true;
    if (json_is_string(value) && wants_text && which != PARAM_ENV) {
        text_add(&shown, json_string_value(value));
    } else if (json_is_integer(value) && axes_get(which)->type != AXIS_TEXT) {
        text_addf(&shown, "%lld", (long long)json_integer_value(value));
    } else if (json_is_real(value) && axes_get(which)->type == AXIS_REAL) {
        text_add_real(&shown, json_real_value(value));
    } else if (json_is_object(value) && which == PARAM_ENV) {
        char *compact = json_dumps(value, JSON_COMPACT);
        text_add(&shown, compact);
        free(compact);
    } else {
        text_addf(err, "found another type for parameter '%s', expected ",
                axes_get(which)->name);
        axes_expected(which, err);
        ok = false;
    }
    ok = ok && params_set(p, which, text_get(&shown), err);
    text_finish(&shown);
    return ok;
}

bool params_from_json(struct params *p, const json_t *object, struct text *err) {
    params_init(p);
    if (!json_is_object(object)) {
        return text_fail(err, "found no object 'params', expected one");
    }
    const char *name;
    json_t *value;
    json_object_foreach((json_t *)object, name, value) {
        enum param which;
        bool ok = axes_find(name, &which) ||
                  text_fail(err, "unknown parameter '%s'", name);
        if (!ok || !set_json(p, which, value, err)) {
            params_init(p);
            return false;
        }
    }
    return true;
}

/* A JSON string: only `"` and `\` need escapes, set_text() let no control byte in. */
static void add_json_string(struct text *out, const char *s) {
    text_add(out, "\"");
    for (; *s; s++) {
        if (*s == '"' || *s == '\\') {
            text_add(out, "\\");
        }
        text_add_bytes(out, s, 1);
    }
    text_add(out, "\"");
}

static int by_name(const void *a, const void *b) {
    return strcmp(axes_get(*(const enum param *)a)->name,
            axes_get(*(const enum param *)b)->name);
}

/* The shown value of a hashed parameter as JSON. */
static void add_json_value(struct text *out, const struct params *p, enum param which) {
    enum axis_type type = axes_get(which)->type;
    if (type == AXIS_CHOICE) {
        add_json_string(out, params_choice(p, which));
    } else if (type == AXIS_TEXT && which != PARAM_ENV) {
        add_json_string(out, params_text(p, which));
    } else if (which == PARAM_BATCH && p->values[which].integer == -1) {
        add_json_string(out, "max");
    } else {
        params_show(p, which, out);
    }
}

void params_hash(const struct params *p, char out[13]) {
    enum param order[PARAM_COUNT];
    int count = 0;
    for (int i = 0; i < PARAM_COUNT; i++) {
        if (axes_get((enum param)i)->hashed && !params_is_default(p, (enum param)i)) {
            order[count++] = (enum param)i;
        }
    }
    // By name, so that the table may be rearranged without changing a hash.
    qsort(order, (size_t)count, sizeof *order, by_name);
    struct text canonical = {0};
    text_add(&canonical, "{");
    for (int i = 0; i < count; i++) {
        text_add(&canonical, i ? ",\"" : "\"");
        text_add(&canonical, axes_get(order[i])->name);
        text_add(&canonical, "\":");
        add_json_value(&canonical, p, order[i]);
    }
    text_add(&canonical, "}");
    unsigned char digest[SHA256_DIGEST_LENGTH];
    SHA256((const unsigned char *)canonical.data, canonical.size, digest);
    static const char hex[] = "0123456789abcdef";
    for (int i = 0; i < 6; i++) {
        out[2 * i] = hex[digest[i] >> 4];
        out[2 * i + 1] = hex[digest[i] & 15];
    }
    out[12] = '\0';
    text_finish(&canonical);
}

static bool check_shape(const struct params *p, struct text *err) {
    long long d_model = params_integer(p, PARAM_D_MODEL);
    long long heads = params_integer(p, PARAM_HEADS);
    long long kv_heads = params_kv_heads(p);
    if (d_model % heads) {
        return text_fail(err, "found heads %lld, expected a divisor of d_model %lld",
                heads, d_model);
    }
    if (d_model / heads % 8 || d_model / heads > 128) {
        return text_fail(err,
                "found head_dim %lld (d_model %lld / heads %lld), expected a multiple "
                "of 8 up to 128",
                d_model / heads, d_model, heads);
    }
    if (heads % kv_heads) {
        return text_fail(err, "found kv_heads %lld, expected a divisor of heads %lld",
                kv_heads, heads);
    }
    if (kv_heads != heads && params_integer(p, PARAM_ARCH) != ARCH_LLAMA) {
        return text_fail(err,
                "found kv_heads %lld under heads %lld with arch gpt, expected arch "
                "llama",
                kv_heads, heads);
    }
    const char *tokenizer = params_text(p, PARAM_TOKENIZER);
    char *end;
    long long known =
            strtoll(tokenizer, &end, 10); // 0 for a file, whose size is unknown
    known = !strcmp(tokenizer, "bytes") ? 256 : *end ? 0 : known;
    long long vocab = params_integer(p, PARAM_VOCAB);
    if (vocab && vocab < known) {
        return text_fail(err,
                "found vocab %lld, expected at least the tokenizer's %lld, or 0", vocab,
                known);
    }
    return true;
}

bool params_check(const struct params *p, struct text *err) {
    if (!check_shape(p, err)) {
        return false;
    }
    long long whole = params_integer(p, PARAM_GLOBAL_BATCH);
    long long parts =
            params_integer(p, PARAM_RANKS) * params_integer(p, PARAM_ACCUMULATE);
    if (whole && !params_is_default(p, PARAM_BATCH)) {
        return text_fail(
                err, "found both batch and global_batch, expected one of them");
    }
    if (whole % parts) {
        return text_fail(err,
                "found global_batch %lld, expected a multiple of ranks x accumulate = "
                "%lld",
                whole, parts);
    }
    long long steps = params_integer(p, PARAM_STEPS);
    long long warmup = params_integer(p, PARAM_WARMUP_STEPS);
    if (!params_integer(p, PARAM_EPOCHS) && warmup >= steps) {
        return text_fail(err, "found warmup_steps %lld, expected fewer than steps %lld",
                warmup, steps);
    }
    if (params_integer(p, PARAM_GRAD) == GRAD_BF16 &&
            params_integer(p, PARAM_PRECISION) != PRECISION_BF16) {
        return text_fail(err, "found grad bf16 with precision %s, expected bf16",
                params_choice(p, PARAM_PRECISION));
    }
    if (params_real(p, PARAM_LR_MIN) > params_real(p, PARAM_LR)) {
        text_add(err, "found lr_min ");
        text_add_real(err, params_real(p, PARAM_LR_MIN));
        text_add(err, ", expected at most lr ");
        text_add_real(err, params_real(p, PARAM_LR));
        return false;
    }
    long long rank = params_integer(p, PARAM_INJECT_RANK);
    long long ranks = params_integer(p, PARAM_RANKS);
    if (params_integer(p, PARAM_INJECT) != INJECT_NONE && rank >= ranks) {
        return text_fail(err, "found inject_rank %lld, expected less than ranks %lld",
                rank, ranks);
    }
    return true;
}

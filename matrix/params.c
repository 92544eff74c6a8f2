/* The values of a cell's parameters together: in JSON, derived, hashed, checked. */
#include <assert.h>
#include <openssl/sha.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "matrix/axes.h"
#include "matrix/value.h"

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

bool params_set(
        struct params *p, enum param which, const char *text, struct text *err) {
    return value_read(which, text, &p->values[which], err);
}

void params_show(const struct params *p, enum param which, struct text *out) {
    value_show(which, p->values[which], out);
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

/* A JSON string: only `"` and `\` need escapes, value_read() let no control byte in. */
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

#include "runner/merge.h"

#include <math.h>
#include <string.h>

#include "matrix/metric.h"

static bool rank_value(const struct rank *r, const char *name, double *out) {
    json_t *v = r->result ? json_object_get(r->result, name) : NULL;
    if (!json_is_number(v)) {
        return false;
    }
    *out = json_number_value(v);
    return isfinite(*out);
}

/* Whole where every rank's value is whole, so that bytes stay bytes. */
static json_t *number(double value, bool whole) {
    if (whole && fabs(value) < 9e15) {
        return json_integer((json_int_t)value);
    }
    return json_real(value);
}

static json_t *merge_one(const struct metric *m, const struct rank *ranks, int count) {
    double total = 0, largest = 0;
    int have = 0;
    bool whole = true;
    int last = m->rule == METRIC_RANK0 && count > 1 ? 1 : count;
    for (int i = 0; i < last; i++) {
        double v;
        if (!rank_value(&ranks[i], m->name, &v)) {
            continue;
        }
        whole = whole && json_is_integer(json_object_get(ranks[i].result, m->name));
        largest = have && largest > v ? largest : v;
        total += v;
        have++;
    }
    if (!have) {
        return NULL;
    }
    switch (m->rule) {
    case METRIC_MAXIMUM:
        return number(largest, whole);
    case METRIC_MEAN:
        return number(total / have, false);
    default:
        return number(total, whole);
    }
}

json_t *merge_metrics(const struct rank *ranks, int count) {
    json_t *out = json_object();
    for (int i = 0; i < metric_count; i++) {
        const struct metric *m = &metrics[i];
        if (!m->per_attempt || m->rule == METRIC_DERIVED) {
            continue;
        }
        json_t *value = merge_one(m, ranks, count);
        if (value) {
            json_object_set_new(out, m->name, value);
        }
    }
    double tokens = json_number_value(json_object_get(out, "window_tokens"));
    double ms = json_number_value(json_object_get(out, "window_ms"));
    if (tokens > 0 && ms > 0) {
        json_object_set_new(out, "tokens_per_s", json_real(tokens * 1000 / ms));
    }
    return out;
}

json_t *merge_memory(const struct rank *ranks, int count) {
    return count && ranks[0].memory ? json_deep_copy(ranks[0].memory) : json_array();
}

static bool is_envelope(const char *key) {
    static const char *const names[] = {"event", "t_ms", "protocol", "pid", "build"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (!strcmp(key, names[i])) {
            return true;
        }
    }
    return false;
}

/* Only a result's metrics are no facts: a split's `val_tokens` is one, and not the
 * metric of that name, which counts those that were evaluated. */
static void add_facts(json_t *body, bool is_result, json_t *provenance) {
    const char *key;
    json_t *value;
    json_object_foreach(body, key, value) {
        bool is_metric = is_result && metric_find(key);
        if (!is_envelope(key) && !is_metric && !json_is_null(value) &&
                !json_object_get(provenance, key)) {
            json_object_set(provenance, key, value);
        }
    }
}

void merge_facts(const struct rank *ranks, int count, json_t *provenance) {
    if (count == 0) {
        return;
    }
    if (ranks[0].hello_body) {
        json_t *build = json_object_get(ranks[0].hello_body, "build");
        if (build) {
            json_object_set(provenance, "hello_build", build);
        }
        add_facts(ranks[0].hello_body, false, provenance);
    }
    if (ranks[0].facts) {
        add_facts(ranks[0].facts, false, provenance);
    }
    if (ranks[0].result) {
        add_facts(ranks[0].result, true, provenance);
    }
}

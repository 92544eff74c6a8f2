#include "reports/fresh.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

// What is today's for one worker, data set or machine.
struct fact {
    char *key;
    char *value;
    int64_t ended_unix_ms;
};

struct fresh {
    struct fact *facts;
    size_t count;
};

enum { WORKER, DATA, MACHINE, KIND_COUNT };
static const char *const kind_names[] = {"worker build", "data", "machine"};

void fresh_provenance(const struct record *r, const char *field, struct text *out) {
    const json_t *v = json_object_get(r->provenance, field);
    if (json_is_string(v)) {
        text_add(out, json_string_value(v));
    } else if (json_is_integer(v)) {
        text_addf(out, "%lld", (long long)json_integer_value(v));
    } else if (json_is_array(v) && json_array_size(v)) {
        // A list reads best as one: "NVIDIA H100, NVIDIA H100".
        size_t i;
        json_t *item;
        json_array_foreach(v, i, item) {
            text_add(out, i ? ", " : "");
            if (json_is_string(item)) {
                text_add(out, json_string_value(item));
            } else {
                char *dump = json_dumps(item, JSON_COMPACT | JSON_ENCODE_ANY);
                text_add(out, dump ? dump : "");
                free(dump);
            }
        }
    } else if (json_is_boolean(v)) {
        text_add(out, json_is_true(v) ? "true" : "false");
    } else if (json_is_real(v) || json_object_size(v)) {
        char *dump = json_dumps(v, JSON_COMPACT | JSON_ENCODE_ANY);
        text_add(out, dump ? dump : "");
        free(dump);
    }
}

double fresh_provenance_number(const struct record *r, const char *field) {
    const json_t *v = json_object_get(r->provenance, field);
    return json_is_number(v) ? json_number_value(v) : NAN;
}

// What a fact is about: which worker, which data; there is one machine. Ours are two
// workers, by device; a peer is one, also where it ended before it had found a device.
static void add_key(const struct record *r, int kind, struct text *out) {
    text_addf(out, "%s\n", kind_names[kind]);
    if (kind == WORKER) {
        params_show(&r->params, PARAM_ENGINE, out);
        if (params_integer(&r->params, PARAM_ENGINE) == ENGINE_NATIVE) {
            text_add(out, "\n");
            fresh_provenance(r, "device", out);
        }
    } else if (kind == DATA) {
        params_show(&r->params, PARAM_DATA, out);
        text_add(out, "\n");
        params_show(&r->params, PARAM_TOKENIZER, out);
        text_add(out, "\n");
        params_show(&r->params, PARAM_SPLIT, out);
    }
}

static void add_value(const struct record *r, int kind, struct text *out) {
    if (kind == WORKER) {
        fresh_provenance(r, "worker_build", out);
    } else if (kind == DATA) {
        fresh_provenance(r, "data_digest", out);
    } else {
        struct text cpu = {0};
        fresh_provenance(r, "cpu", &cpu);
        if (cpu.size) {
            text_addf(out, "%s × ", text_get(&cpu));
            fresh_provenance(r, "cores", out);
            text_add(out, " + ");
            fresh_provenance(r, "gpus", out);
        }
        text_finish(&cpu);
    }
}

static struct fact *find(const struct fresh *f, const char *key) {
    for (size_t i = 0; i < f->count; i++) {
        if (strcmp(f->facts[i].key, key) == 0) {
            return f->facts + i;
        }
    }
    return NULL;
}

static void learn(struct fresh *f, const struct record *r, int kind) {
    struct text value = {0};
    if (kind == WORKER && record_lacks_engine(r)) {
        return; // a worker that cannot work outdates none that could
    }
    add_value(r, kind, &value);
    if (!value.size) {
        text_finish(&value); // empty, but there may be room in it
        return;
    }
    struct text key = {0};
    add_key(r, kind, &key);
    struct fact *fact = find(f, text_get(&key));
    if (!fact) {
        f->facts = text_reallocate(f->facts, (f->count + 1) * sizeof *f->facts);
        fact = f->facts + f->count++;
        *fact = (struct fact){text_take(&key), text_take(&value), r->ended_unix_ms};
    } else if (r->ended_unix_ms >= fact->ended_unix_ms) {
        free(fact->value);
        fact->value = text_take(&value);
        fact->ended_unix_ms = r->ended_unix_ms;
    }
    text_finish(&key);
    text_finish(&value);
}

struct fresh *fresh_create(const struct results *results) {
    struct fresh *f = text_allocate_zeroed(1, sizeof *f);
    for (size_t c = 0; c < results->count; c++) {
        const struct result_cell *cell = results->cells + c;
        for (size_t a = 0; a < cell->attempt_count; a++) {
            if (cell->attempts[a].recorded && !cell->attempts[a].damage) {
                for (int kind = 0; kind < KIND_COUNT; kind++) {
                    learn(f, &cell->attempts[a].record, kind);
                }
            }
        }
    }
    return f;
}

void fresh_destroy(struct fresh *f) {
    if (!f) {
        return;
    }
    for (size_t i = 0; i < f->count; i++) {
        free(f->facts[i].key);
        free(f->facts[i].value);
    }
    free(f->facts);
    free(f);
}

bool fresh_check(const struct fresh *f, const struct record *r, struct text *because) {
    bool ok = true;
    struct text key = {0};
    struct text value = {0};
    for (int kind = 0; kind < KIND_COUNT; kind++) {
        text_clear(&key);
        text_clear(&value);
        add_key(r, kind, &key);
        add_value(r, kind, &value);
        const struct fact *fact = find(f, text_get(&key));
        if (value.size && fact && strcmp(fact->value, text_get(&value)) != 0) {
            text_addf(because, "%s%s", ok ? "" : ", ", kind_names[kind]);
            ok = false;
        }
    }
    text_finish(&key);
    text_finish(&value);
    return ok;
}

void fresh_signature(const struct record *r, struct text *out) {
    for (int kind = 0; kind < KIND_COUNT; kind++) {
        add_value(r, kind, out);
        text_add(out, "\n");
    }
}

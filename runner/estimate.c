#include "runner/estimate.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "runner/bracket.h"
#include "runner/filter.h"

#define QUESTIONS 6       /* a round; each costs some kernels a third of a second */
#define PATIENCE_MS 60000 /* a worker that does not answer is not waited for */

static bool ask(const struct spec *spec, const char *command, const struct text *in,
        struct text *out) {
    struct text ignored = {0};
    size_t words = 0;
    while (spec->worker[words]) {
        words++;
    }
    char **argv = text_allocate_zeroed(words + 2, sizeof *argv);
    memcpy(argv, spec->worker, words * sizeof *argv);
    argv[words] = (char *)command;
    bool ok = filter_run(argv, in, out, PATIENCE_MS, &ignored);
    free(argv);
    text_finish(&ignored);
    return ok;
}

/* Free bytes of the fullest of these devices, or of the host; 0 unknown. */
static int64_t free_bytes(const struct spec *spec, char *const *bus_ids) {
    struct text in = {0}, out = {0};
    int64_t least = 0;
    for (char *const *b = bus_ids; *b; b++) {
        text_addf(&in, "%s ", *b);
    }
    text_add(&in, "\n");
    json_t *answer =
            ask(spec, "memory", &in, &out) ? json_loads(text_get(&out), 0, NULL) : NULL;
    json_t *device;
    size_t i;
    json_array_foreach(json_object_get(answer, "devices"), i, device) {
        int64_t one = json_integer_value(json_object_get(device, "free_bytes"));
        least = one > 0 && (least == 0 || one < least) ? one : least;
    }
    json_decref(answer);
    text_finish(&in);
    text_finish(&out);
    return least;
}

bool estimate_limit(struct estimate *e, int64_t bytes) {
    if (bytes <= 0 || (e->limit_bytes && bytes >= e->limit_bytes)) {
        return false;
    }
    e->limit_bytes = bytes;
    return true;
}

void estimate_init(struct estimate *e, const struct spec *spec, char *const *bus_ids) {
    *e = (struct estimate){.spec = spec};
    estimate_limit(e, free_bytes(spec, bus_ids));
    estimate_limit(e, params_integer(&spec->params, PARAM_MEMORY_LIMIT));
}

static void add_question(const struct spec *asked, int64_t batch, struct text *in) {
    struct spec spec = *asked;
    spec.params.values[PARAM_BATCH].integer = batch;
    json_t *o = spec_to_json(&spec);
    char *line = json_dumps(o, JSON_COMPACT);
    text_addf(in, "%s\n", line);
    free(line);
    json_decref(o);
}

/* Batches between the largest whose plan is known to fit and the smallest that is not.
 */
struct range {
    int64_t low, high;
    int64_t low_bytes, each_bytes; /* of low's plan; what a sequence adds, 0 unknown */
};

static void learn(struct range *r, int64_t batch, int64_t bytes, bool fits) {
    if (fits && batch > r->low) {
        if (r->low > 0) {
            r->each_bytes = (bytes - r->low_bytes) / (batch - r->low);
        }
        r->low = batch;
        r->low_bytes = bytes;
    } else if (!fits && batch < r->high) {
        r->high = batch;
    }
}

/* Plan `count` ascending batches and narrow `r`. False where an answer is missing. */
static bool narrow(
        const struct estimate *e, const int64_t *batches, int count, struct range *r) {
    struct text in = {0}, out = {0};
    for (int i = 0; i < count; i++) {
        add_question(e->spec, batches[i], &in);
    }
    bool ok = ask(e->spec, "plan", &in, &out);
    const char *line = text_get(&out);
    for (int i = 0; ok && i < count; i++) {
        const char *end = strchr(line, '\n');
        json_t *answer = end ? json_loadb(line, (size_t)(end - line), 0, NULL) : NULL;
        json_t *bytes = json_object_get(answer, "planned_bytes");
        bool fits =
                json_is_integer(bytes) && json_integer_value(bytes) <= e->limit_bytes;
        ok = answer != NULL;
        if (ok) {
            learn(r, batches[i], json_integer_value(bytes), fits);
        }
        json_decref(answer);
        line = end ? end + 1 : line;
    }
    text_finish(&in);
    text_finish(&out);
    return ok;
}

static void add_batch(
        const struct range *r, int64_t batch, int64_t *batches, int *count) {
    bool ascends = *count == 0 || batch > batches[*count - 1];
    if (batch > r->low && batch < r->high && ascends) {
        batches[(*count)++] = batch;
    }
}

/*
 * Where to look next. Bytes grow by about the same for every sequence, so the limit
 * lies near where a straight line from the last two plans meets memory; what is not
 * learnt there, equal steps find.
 */
static int choose(
        const struct range *r, int64_t limit_bytes, bool by_line, int64_t *batches) {
    int count = 0;
    if (by_line && r->each_bytes > 0) {
        int64_t room = (limit_bytes - r->low_bytes) / r->each_bytes;
        int64_t most = BRACKET_MOST - r->low;
        int64_t guess = r->low + (room < most ? room : most);
        int64_t margin = bracket_step(guess);
        add_batch(r, guess - margin, batches, &count);
        add_batch(r, guess, batches, &count);
        add_batch(r, guess + 1, batches, &count);
        add_batch(r, guess + 1 + margin, batches, &count);
    }
    for (int k = 1; count == 0 && k < QUESTIONS; k++) {
        add_batch(r, r->low + (r->high - r->low) * k / QUESTIONS, batches, &count);
    }
    return count;
}

int64_t estimate_batch(const struct estimate *e) {
    int64_t batches[QUESTIONS] = {1, 2};
    struct range r = {.high = BRACKET_MOST + 1};
    if (!e->limit_bytes) {
        return 0;
    }
    bool ok = narrow(e, batches, 2, &r), by_line = true;
    while (ok && r.low > 0 && r.high - r.low > bracket_step(r.low)) {
        int count = choose(&r, e->limit_bytes, by_line, batches);
        ok = narrow(e, batches, count, &r);
        by_line = !by_line;
    }
    return ok ? r.low : 0;
}

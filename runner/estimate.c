#include "runner/estimate.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "runner/bracket.h"
#include "runner/filter.h"

#define QUESTIONS 21      /* a round: as many as there are powers of two to the most */
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

/*
 * Plan `count` ascending batches; narrow [low, high) to those between the largest that
 * fits and the smallest that does not. False where an answer is missing.
 */
static bool narrow(const struct estimate *e, const int64_t *batches, int count,
        int64_t *low, int64_t *high) {
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
        if (ok && fits && batches[i] > *low) {
            *low = batches[i];
        } else if (ok && !fits && batches[i] < *high) {
            *high = batches[i];
        }
        json_decref(answer);
        line = end ? end + 1 : line;
    }
    text_finish(&in);
    text_finish(&out);
    return ok;
}

int64_t estimate_batch(const struct estimate *e) {
    int64_t batches[QUESTIONS], low = 0, high = BRACKET_MOST + 1;
    if (!e->limit_bytes) {
        return 0;
    }
    for (int i = 0; i < QUESTIONS; i++) {
        batches[i] = (int64_t)1 << i;
    }
    bool ok = narrow(e, batches, QUESTIONS, &low, &high);
    while (ok && low > 0 && high - low > bracket_step(low)) {
        int count = 0;
        for (int i = 1; i < QUESTIONS; i++) {
            int64_t batch = low + (high - low) * i / QUESTIONS;
            if (batch > low && (count == 0 || batch > batches[count - 1])) {
                batches[count++] = batch;
            }
        }
        ok = narrow(e, batches, count, &low, &high);
    }
    return ok ? low : 0;
}

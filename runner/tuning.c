#include "runner/tuning.h"

#include <errno.h>
#include <jansson.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "runner/clocks.h"
#include "runner/filter.h"

#define TABLE "gemm_algorithms.txt"

static bool wants_tuning(const struct queue_cell *c, const struct workers *w) {
    const struct params *p = &c->cell->params;
    return c->left > 0 && params_integer(p, PARAM_ENGINE) == ENGINE_NATIVE &&
           params_integer(p, PARAM_TASK) == TASK_TRAIN && params_batch(p) > 0 &&
           workers_uses_gpu(w, p);
}

/* Their specs, one a line; how many. */
static size_t collect(const struct queue *q, const struct workers *w, struct text *in) {
    char *worker[] = {w->cuda, NULL};
    size_t count = 0;
    for (size_t i = 0; i < q->count; i++) {
        if (!wants_tuning(&q->cells[i], w)) {
            continue;
        }
        json_t *spec = filter_spec(q->cells[i].cell, worker);
        char *line = json_dumps(spec, JSON_COMPACT);
        text_addf(in, "%s\n", line);
        free(line);
        json_decref(spec);
        count++;
    }
    return count;
}

bool tuning_prepare(const struct queue *q, const struct workers *w, const char *out,
        struct progress *progress, struct text *err) {
    if (getenv("LM_TUNING") || w->override || !w->has_cuda) {
        return true;
    }
    struct text in = {0}, answer = {0}, path = {0};
    char folder[PATH_MAX];
    size_t count = collect(q, w, &in);
    bool good = true;
    if (count && !realpath(out, folder)) {
        good = text_fail(err, "cannot find '%s': %s", out, strerror(errno));
    } else if (count) {
        int64_t began = clocks_now_ms();
        text_addf(&path, "%s/" TABLE, folder);
        char *argv[] = {w->cuda, "tune", (char *)text_get(&path), NULL};
        good = filter_run(argv, &in, &answer, FILTER_NO_LIMIT, err);
        if (good) {
            setenv("LM_TUNING", text_get(&path), 1);
            progress_say(progress,
                    "matrix products of %zu cell%s looked up or timed in "
                    "%.1f s: %s",
                    count, count == 1 ? "" : "s",
                    (double)(clocks_now_ms() - began) / 1e3, text_get(&path));
        }
    }
    text_finish(&in);
    text_finish(&answer);
    text_finish(&path);
    return good;
}

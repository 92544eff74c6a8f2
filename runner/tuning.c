#include "runner/tuning.h"

#include <errno.h>
#include <jansson.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

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

/* Time what `in` asks for into the table at `path`. */
static bool tune(const struct workers *w, const char *path, const struct text *in,
        size_t cells, struct progress *progress, struct text *err) {
    struct text answer = {0};
    int64_t began = clocks_now_ms();
    char *argv[] = {w->cuda, "tune", (char *)path, NULL};
    bool good = filter_run(argv, in, &answer, FILTER_NO_LIMIT, err);
    if (good) {
        progress_say(progress,
                "matrix products of %zu cell%s looked up or timed in %.1f s: %s", cells,
                cells == 1 ? "" : "s", (double)(clocks_now_ms() - began) / 1e3, path);
    }
    text_finish(&answer);
    return good;
}

bool tuning_prepare(const struct queue *q, const struct workers *w, const char *out,
        struct progress *progress, struct text *err) {
    if (getenv("LM_TUNING") || w->override || !w->has_cuda) {
        return true;
    }
    struct text in = {0}, path = {0};
    char folder[PATH_MAX];
    size_t count = collect(q, w, &in);
    // Cells whose batch is still to be found read a table that others have filled.
    bool has_folder = realpath(out, folder) != NULL;
    bool good = count == 0 || has_folder ||
                text_fail(err, "cannot find '%s': %s", out, strerror(errno));
    if (has_folder) {
        text_addf(&path, "%s/" TABLE, folder);
        good = count == 0 || tune(w, text_get(&path), &in, count, progress, err);
    }
    if (good && has_folder && access(text_get(&path), R_OK) == 0) {
        setenv("LM_TUNING", text_get(&path), 1);
    }
    text_finish(&in);
    text_finish(&path);
    return good;
}

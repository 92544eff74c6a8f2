#include "runner/planner.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "matrix/spec.h"
#include "runner/filter.h"

/* The answers, in the order asked; `of` maps each line to its cell. */
static bool take_answers(const char *program, const struct text *out, const size_t *of,
        size_t asked, json_t **answers, struct text *err) {
    const char *line = text_get(out);
    for (size_t i = 0; i < asked; i++) {
        const char *end = strchr(line, '\n');
        size_t size = end ? (size_t)(end - line) : strlen(line);
        json_error_t why;
        json_t *answer = size ? json_loadb(line, size, 0, &why) : NULL;
        if (!json_is_object(answer)) {
            json_decref(answer);
            return text_fail(err, "'%s plan' gave %zu answers to %zu questions",
                    program, i, asked);
        }
        answers[of[i]] = answer;
        line += size + (end != NULL);
    }
    return true;
}

/* Ask the worker that serves cell `first` about all cells that it serves. */
static bool ask_one_worker(const struct workers *w, const struct cell *const *cells,
        size_t count, size_t first, json_t **answers, struct text *err) {
    struct text in = {0}, out = {0}, why = {0};
    char **worker = workers_choose(w, &cells[first]->params, &why);
    if (!worker) {
        answers[first] = json_pack("{s:s}", "error", text_get(&why));
        text_finish(&why);
        return true;
    }
    size_t words = 0, asked = 0;
    while (worker[words]) {
        words++;
    }
    char **argv = text_allocate_zeroed(words + 2, sizeof *argv);
    memcpy(argv, worker, words * sizeof *argv);
    argv[words] = "plan";
    size_t *of = text_allocate(count * sizeof *of);
    for (size_t i = first; i < count; i++) {
        text_clear(&why);
        char **other = workers_choose(w, &cells[i]->params, &why);
        if (!answers[i] && other && !strcmp(other[0], worker[0])) {
            json_t *spec = filter_spec(cells[i], worker);
            char *line = json_dumps(spec, JSON_COMPACT);
            text_addf(&in, "%s\n", line);
            free(line);
            json_decref(spec);
            of[asked++] = i;
        }
        free(other);
    }
    bool ok = filter_run(argv, &in, &out, FILTER_NO_LIMIT, err) &&
              take_answers(argv[0], &out, of, asked, answers, err);
    free(of);
    free(argv);
    free(worker);
    text_finish(&in);
    text_finish(&out);
    text_finish(&why);
    return ok;
}

bool planner_ask(const struct workers *w, const struct cell *const *cells, size_t count,
        json_t **answers, struct text *err) {
    for (size_t i = 0; i < count; i++) {
        answers[i] = NULL;
    }
    for (size_t i = 0; i < count; i++) {
        if (!answers[i] && !ask_one_worker(w, cells, count, i, answers, err)) {
            return false;
        }
    }
    return true;
}

#include "runner/planner.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "matrix/spec.h"
#include "runner/child.h"

static json_t *spec_line(const struct cell *cell, char **worker) {
    struct spec s = {.matrix = (char *)cell->matrix,
            .cell = (char *)cell->id,
            .attempt = 1,
            .expect = cell->expect,
            .worker = worker,
            .params = cell->params};
    memcpy(s.hash, cell->hash, sizeof s.hash);
    return spec_to_json(&s);
}

static bool write_all(int fd, const char *bytes, size_t size) {
    while (size) {
        ssize_t n = write(fd, bytes, size);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0) {
            return false;
        }
        bytes += n;
        size -= (size_t)n;
    }
    return true;
}

/* Run `argv` with `in` as its input; its whole output to `out`. */
static bool run_filter(
        char *const *argv, const struct text *in, struct text *out, struct text *err) {
    // Files rather than pipes: neither side can wait for the other.
    int fds[2] = {
            memfd_create("specs", MFD_CLOEXEC), memfd_create("answers", MFD_CLOEXEC)};
    bool ok = fds[0] >= 0 && fds[1] >= 0 && write_all(fds[0], text_get(in), in->size) &&
              lseek(fds[0], 0, SEEK_SET) == 0;
    if (!ok) {
        text_fail(err, "cannot ask '%s': %s", argv[0], strerror(errno));
    }
    char *none[] = {NULL};
    char **environment = child_make_environment(none);
    struct child_spec spec = {.argv = argv,
            .envp = environment,
            .stdin_fd = fds[0],
            .stdout_fd = fds[1],
            .stderr_fd = STDERR_FILENO,
            .cgroup_fd = -1};
    struct child c;
    struct child_end end;
    ok = ok && child_start(&c, &spec, err);
    if (ok) {
        child_reap(&c, &end);
        if (end.exit_code != 0) {
            ok = text_fail(err, "'%s plan' ended with %s %d", argv[0],
                    end.signal ? "signal" : "code",
                    end.signal ? end.signal : end.exit_code);
        }
    }
    char bytes[65536];
    off_t at = 0;
    ssize_t n;
    while (ok && (n = pread(fds[1], bytes, sizeof bytes, at)) > 0) {
        text_add_bytes(out, bytes, (size_t)n);
        at += n;
    }
    child_free_environment(environment);
    for (int i = 0; i < 2; i++) {
        if (fds[i] >= 0) {
            close(fds[i]);
        }
    }
    return ok;
}

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
            json_t *spec = spec_line(cells[i], worker);
            char *line = json_dumps(spec, JSON_COMPACT);
            text_addf(&in, "%s\n", line);
            free(line);
            json_decref(spec);
            of[asked++] = i;
        }
        free(other);
    }
    bool ok = run_filter(argv, &in, &out, err) &&
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

#include "runner/gauge.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "runner/clocks.h"

#define FIRST_MS 10000 /* loading the driver's library, on a machine with many GPUs */
#define NEXT_MS 1000
#define ANSWER_MAX 65536

void gauge_init(struct gauge *g, const char *worker) {
    *g = (struct gauge){.worker = worker, .in_fd = -1, .out_fd = -1};
}

static void close_pipe(int *fd) {
    if (*fd >= 0) {
        close(*fd);
    }
    *fd = -1;
}

static void stop(struct gauge *g) {
    if (g->child.pid) {
        struct child_end ignored;
        child_signal(&g->child, SIGKILL);
        child_reap(&g->child, &ignored);
        close_pipe(&g->in_fd);
        close_pipe(&g->out_fd);
    }
}

void gauge_finish(struct gauge *g) {
    stop(g);
    *g = (struct gauge){0};
}

static bool start(struct gauge *g) {
    int in[2] = {-1, -1}, out[2] = {-1, -1};
    char *argv[] = {(char *)g->worker, "memory", NULL};
    char *none[] = {NULL};
    char **environment = child_make_environment(none);
    struct text ignored = {0}; // what is asked stays unknown, and nothing waits for it
    bool ok = pipe2(in, O_CLOEXEC) == 0 && pipe2(out, O_CLOEXEC) == 0;
    struct child_spec spec = {.argv = argv,
            .envp = environment,
            .stdin_fd = in[0],
            .stdout_fd = out[1],
            .stderr_fd = -1,
            .cgroup_fd = -1};
    ok = ok && child_start(&g->child, &spec, &ignored);
    close_pipe(&in[0]);
    close_pipe(&out[1]);
    g->in_fd = in[1];
    g->out_fd = out[0];
    if (!ok) {
        close_pipe(&g->in_fd);
        close_pipe(&g->out_fd);
    }
    child_free_environment(environment);
    text_finish(&ignored);
    return ok;
}

/* One line, in time. */
static bool read_answer(struct gauge *g, struct text *line) {
    int64_t deadline_ms = clocks_now_ms() + (g->answered ? NEXT_MS : FIRST_MS);
    char bytes[4096];
    while (line->size == 0 || line->data[line->size - 1] != '\n') {
        struct pollfd p = {.fd = g->out_fd, .events = POLLIN};
        int64_t left_ms = deadline_ms - clocks_now_ms();
        int ready = left_ms > 0 ? poll(&p, 1, (int)left_ms) : 0;
        ssize_t n = ready > 0 ? read(g->out_fd, bytes, sizeof bytes) : 0;
        if ((ready < 0 || n < 0) && errno == EINTR) {
            continue;
        }
        if (n <= 0 || line->size > ANSWER_MAX) {
            return false;
        }
        text_add_bytes(line, bytes, (size_t)n);
    }
    return true;
}

static bool ask(struct gauge *g, char *const *bus_ids, int count, struct text *answer) {
    struct text question = {0};
    for (int i = 0; i < count; i++) {
        text_addf(&question, "%s%s", i ? " " : "", bus_ids[i]);
    }
    text_add(&question, "\n");
    // Shorter than a pipe holds, so it is taken whole or not at all. SIGPIPE is
    // ignored.
    ssize_t n = write(g->in_fd, text_get(&question), question.size);
    bool ok = n == (ssize_t)question.size && read_answer(g, answer);
    text_finish(&question);
    return ok;
}

static int64_t bytes_of(json_t *device, const char *name) {
    json_t *value = json_object_get(device, name);
    return json_is_integer(value) ? json_integer_value(value) : GAUGE_UNKNOWN;
}

void gauge_read(struct gauge *g, char *const *bus_ids, int count, int64_t *used_bytes,
        int64_t *free_bytes) {
    struct text line = {0};
    json_t *answer = NULL;
    if (g->worker && !g->failed && count > 0) {
        bool ok = (g->child.pid || start(g)) && ask(g, bus_ids, count, &line);
        answer = ok ? json_loads(text_get(&line), 0, NULL) : NULL;
        g->answered = g->answered || answer;
        g->failed = !answer;
    }
    if (g->failed) {
        stop(g);
    }
    json_t *devices = json_object_get(answer, "devices");
    for (int i = 0; i < count; i++) {
        json_t *device = json_array_get(devices, (size_t)i);
        used_bytes[i] = bytes_of(device, "used_bytes");
        if (free_bytes) {
            free_bytes[i] = bytes_of(device, "free_bytes");
        }
    }
    json_decref(answer);
    text_finish(&line);
}

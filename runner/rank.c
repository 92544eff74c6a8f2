#include "runner/rank.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "matrix/curve.h"
#include "matrix/event.h"

/* A rank that floods its pipe must not keep the supervisor from its other duties. */
#define READ_ROUNDS 64

bool rank_init(struct rank *r, int number, const char *folder, struct text *err) {
    *r = (struct rank){.number = number,
            .pipe_fd = -1,
            .write_fd = -1,
            .file_fd = -1,
            .output = OUTPUT_NONE,
            .child = {.pidfd = -1},
            .end = {.exit_code = -1},
            .first_step_ms = -1,
            .last_step = -1,
            .error_step = -1,
            .bytes_asked = -1,
            .bytes_free = -1};
    struct text path = {0};
    text_addf(&path, "%s/rank%d.jsonl", folder, number);
    r->file_fd = open(
            text_get(&path), O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC, 0644);
    int ends[2];
    bool ok = false;
    if (r->file_fd < 0) {
        text_fail(err, "cannot create '%s': %s", text_get(&path), strerror(errno));
    } else if (pipe2(ends, O_CLOEXEC)) {
        text_fail(err, "cannot make a pipe: %s", strerror(errno));
    } else {
        r->pipe_fd = ends[0];
        r->write_fd = ends[1];
        fcntl(r->pipe_fd, F_SETFL, O_NONBLOCK);
        ok = true;
    }
    text_finish(&path);
    if (!ok) {
        rank_finish(r);
    }
    return ok;
}

static void close_fd(int *fd) {
    if (*fd >= 0) {
        close(*fd);
    }
    *fd = -1;
}

void rank_finish(struct rank *r) {
    close_fd(&r->pipe_fd);
    close_fd(&r->write_fd);
    close_fd(&r->file_fd);
    output_finish(&r->output);
    text_finish(&r->line);
    json_decref(r->hello_body);
    json_decref(r->facts);
    json_decref(r->result);
    json_decref(r->memory);
    json_decref(r->ops);
    json_decref(r->allreduce);
    free(r->phase);
    free(r->error);
    free(r->error_phase);
    free(r->garbage);
    free(r->cpus);
    r->hello_body = r->facts = r->result = r->memory = r->ops = r->allreduce = NULL;
    r->phase = r->error = r->error_phase = r->garbage = r->cpus = NULL;
}

static void distrust(struct rank *r, const char *format, const char *detail) {
    if (!r->garbage && !r->killed) {
        struct text t = {0};
        text_addf(&t, "rank %d ", r->number);
        text_addf(&t, format, detail);
        r->garbage = text_take(&t);
    }
}

static void set(char **field, const char *value) {
    char *copy = text_copy(value);
    free(*field);
    *field = copy;
}

/* Only what a worker can know about itself; the rest is the supervisor's to judge. */
static enum status declared_status(const char *kind) {
    enum status s;
    if (!status_parse(kind, &s)) {
        return STATUS_FAILED;
    }
    switch (s) {
    case STATUS_OOM_DEVICE:
    case STATUS_OOM_HOST:
    case STATUS_INVALID:
    case STATUS_UNSUPPORTED:
    case STATUS_PREEMPTED:
    case STATUS_CRASHED: // its device did, which no signal tells of
        return s;
    default:
        return STATUS_FAILED;
    }
}

static void take_error(struct rank *r, const struct event *e) {
    // Once it has been told to stop, what it complains of is our doing.
    if (r->has_error || r->killed) {
        return;
    }
    r->has_error = true;
    r->error_status = declared_status(event_text(e, "kind", ""));
    set(&r->error, event_text(e, "text", ""));
    set(&r->error_phase, event_text(e, "phase", ""));
    r->error_step = event_integer(e, "step", -1);
    r->bytes_asked = event_integer(e, "bytes_asked", -1);
    r->bytes_free = event_integer(e, "bytes_free", -1);
    r->predicted = json_is_true(json_object_get(e->body, "predicted"));
    r->blames = json_is_true(json_object_get(e->body, "collateral"));
}

/* The newest word on each kind stands, in the order the kinds first came. */
static void take_memory(struct rank *r, const struct event *e) {
    const char *kind = event_text(e, "kind", NULL);
    if (!kind) {
        return;
    }
    if (!r->memory) {
        r->memory = json_array();
    }
    json_t *entry = NULL, *each;
    size_t i;
    json_array_foreach(r->memory, i, each) {
        if (!strcmp(json_string_value(json_object_get(each, "kind")), kind)) {
            entry = each;
        }
    }
    if (!entry) {
        entry = json_pack("{s:s}", "kind", kind);
        json_array_append_new(r->memory, entry);
    }
    static const char *const fields[] = {
            "planned_bytes", "measured_bytes", "device_bytes"};
    for (size_t f = 0; f < sizeof fields / sizeof *fields; f++) {
        json_t *value = json_object_get(e->body, fields[f]);
        if (json_is_integer(value)) {
            json_object_set(entry, fields[f], value);
        }
    }
}

static void start_stepping(struct rank *r, int64_t now_ms) {
    r->stepping = true;
    if (r->first_step_ms < 0) {
        r->first_step_ms = now_ms;
    }
}

static void take_step(struct rank *r, const struct event *e, int64_t now_ms) {
    r->last_step = event_integer(e, "step", r->last_step);
    start_stepping(r, now_ms);
}

/* A row of the curve is to task allreduce what a step is to training. */
static void take_row(struct rank *r, const struct event *e, int64_t now_ms) {
    struct curve_row row;
    struct text why = {0};
    r->allreduce = r->allreduce ? r->allreduce : json_array();
    if (!curve_row_from_json(e->body, &row, &why)) {
        distrust(r, "wrote an event 'allreduce' with %s", text_get(&why));
    } else if (json_array_size(r->allreduce) == CURVE_ROWS_MAX) {
        distrust(r, "wrote more events 'allreduce' than there are sizes%s", "");
    } else {
        json_array_append_new(r->allreduce, curve_row_to_json(&row));
        r->last_step = (int64_t)json_array_size(r->allreduce);
        start_stepping(r, now_ms);
    }
    text_finish(&why);
}

static void take_other(struct rank *r, const struct event *e, int64_t now_ms) {
    const char *name = event_text(e, "event", "");
    if (!strcmp(name, "facts")) {
        r->facts = r->facts ? r->facts : json_object();
        json_object_update(r->facts, e->body);
    } else if (!strcmp(name, "ops")) {
        json_decref(r->ops);
        r->ops = json_copy(e->body);
        json_object_del(r->ops, "event");
        json_object_del(r->ops, "t_ms");
    } else if (!strcmp(name, "allreduce")) {
        take_row(r, e, now_ms);
    }
}

static void take_line(struct rank *r, const char *line, size_t size, int64_t now_ms) {
    struct event e = {0};
    struct text why = {0};
    if (!event_parse(line, size, &e, &why)) {
        distrust(r, "wrote a line that is no event: %s", text_get(&why));
        text_finish(&why);
        return;
    }
    r->heard_ms = now_ms;
    r->waiting = json_is_true(json_object_get(e.body, "waiting"));
    r->moved_ms = r->waiting ? r->moved_ms : now_ms;
    if (!r->hello && e.kind != EVENT_HELLO) {
        distrust(r, "did not say hello first%s", "");
    }
    switch (e.kind) {
    case EVENT_HELLO:
        r->hello = true;
        json_decref(r->hello_body);
        r->hello_body = json_incref(e.body);
        break;
    case EVENT_PHASE:
        set(&r->phase, event_text(&e, "name", ""));
        break;
    case EVENT_MEMORY:
        take_memory(r, &e);
        break;
    case EVENT_STEP:
        take_step(r, &e, now_ms);
        break;
    case EVENT_EVAL:
        r->stepping = true;
        break;
    case EVENT_ERROR:
        take_error(r, &e);
        break;
    case EVENT_RESULT:
        r->stepping = true;
        json_decref(r->result);
        r->result = json_incref(e.body);
        break;
    case EVENT_OTHER:
        take_other(r, &e, now_ms);
        break;
    }
    event_finish(&e);
}

void rank_feed(struct rank *r, const char *bytes, size_t size, int64_t now_ms) {
    while (size && !r->garbage) {
        const char *end = memchr(bytes, '\n', size);
        size_t piece = end ? (size_t)(end - bytes) : size;
        if (r->line.size + piece > EVENT_LINE_MAX) {
            distrust(r, "wrote an event line that is too long%s", "");
            return;
        }
        text_add_bytes(&r->line, bytes, piece);
        if (!end) {
            return;
        }
        take_line(r, text_get(&r->line), r->line.size, now_ms);
        text_clear(&r->line);
        bytes += piece + 1;
        size -= piece + 1;
    }
}

static bool save(struct rank *r, const char *bytes, size_t size, struct text *err) {
    while (size) {
        ssize_t n = write(r->file_fd, bytes, size);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0) {
            return text_fail(
                    err, "cannot write 'rank%d.jsonl': %s", r->number, strerror(errno));
        }
        bytes += n;
        size -= (size_t)n;
    }
    return true;
}

bool rank_read(struct rank *r, int64_t now_ms, struct text *err) {
    char bytes[65536];
    for (int round = 0; r->pipe_fd >= 0 && round < READ_ROUNDS; round++) {
        ssize_t n = read(r->pipe_fd, bytes, sizeof bytes);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0) {
            return true; // EAGAIN: nothing more for now
        }
        if (n == 0) {
            close_fd(&r->pipe_fd);
            return true;
        }
        // What follows garbage is evidence enough; a flood must not fill the disk.
        if (!r->garbage && !save(r, bytes, (size_t)n, err)) {
            return false;
        }
        rank_feed(r, bytes, (size_t)n, now_ms);
    }
    return true;
}

bool rank_prints_too_much(struct rank *r) {
    struct text what = {0};
    bool too_much = output_overflows(&r->output, &what);
    if (too_much) {
        distrust(r, "%s", text_get(&what));
    }
    text_finish(&what);
    return too_much;
}

void rank_close(struct rank *r) {
    // A process that a signal ended may well have been in the middle of a line.
    if (r->line.size && r->end.signal == 0) {
        distrust(r, "ended in the middle of an event%s", "");
    }
    close_fd(&r->pipe_fd);
}

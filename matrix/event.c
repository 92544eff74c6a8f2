#include "matrix/event.h"

#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "matrix/metric.h"
#include "matrix/status.h"

static const char *const kinds[] = {
        "hello", "phase", "memory", "step", "eval", "error", "result"};

/* What a known field must be: a letter of "itr" (integer, text, number), upper case
 * where the event is nothing without it. Null and absence are fine otherwise. */
struct rule {
    enum event_kind kind;
    const char *field;
    char type;
};

static const struct rule rules[] = {
        {EVENT_HELLO, "protocol", 'I'},
        {EVENT_HELLO, "build", 't'},
        {EVENT_HELLO, "device", 't'},
        {EVENT_HELLO, "pid", 'i'},
        {EVENT_PHASE, "name", 'T'},
        {EVENT_MEMORY, "kind", 't'},
        {EVENT_MEMORY, "planned_bytes", 'i'},
        {EVENT_MEMORY, "measured_bytes", 'i'},
        {EVENT_MEMORY, "device_bytes", 'i'},
        {EVENT_STEP, "step", 'I'},
        {EVENT_STEP, "loss", 'r'},
        {EVENT_STEP, "accuracy", 'r'},
        {EVENT_STEP, "lr", 'r'},
        {EVENT_STEP, "grad_norm", 'r'},
        {EVENT_STEP, "loss_scale", 'r'},
        {EVENT_STEP, "tokens", 'i'},
        {EVENT_STEP, "ms", 'r'},
        {EVENT_EVAL, "step", 'i'},
        {EVENT_EVAL, "loss", 'r'},
        {EVENT_EVAL, "ppl", 'r'},
        {EVENT_EVAL, "accuracy", 'r'},
        {EVENT_EVAL, "tokens", 'i'},
        {EVENT_ERROR, "kind", 'T'},
        {EVENT_ERROR, "phase", 't'},
        {EVENT_ERROR, "step", 'i'},
        {EVENT_ERROR, "bytes_asked", 'i'},
        {EVENT_ERROR, "bytes_free", 'i'},
        {EVENT_ERROR, "text", 't'},
};

static bool obeys(const struct rule *rule, const json_t *body) {
    const json_t *value = json_object_get(body, rule->field);
    if (!value || json_is_null(value)) {
        return rule->type != 'I' && rule->type != 'T';
    }
    switch (rule->type) {
    case 'i':
    case 'I':
        return json_is_integer(value);
    case 'r':
        return json_is_number(value);
    default:
        return json_is_string(value);
    }
}

static bool check_result(const json_t *body, struct text *err) {
    for (int i = 0; i < metric_count; i++) {
        const json_t *value = json_object_get(body, metrics[i].name);
        if (value && !json_is_null(value) && !json_is_number(value)) {
            return text_fail(
                    err, "found a result whose '%s' is no number", metrics[i].name);
        }
    }
    return true;
}

static bool check_fields(const struct event *e, struct text *err) {
    for (size_t i = 0; i < sizeof rules / sizeof *rules; i++) {
        if (rules[i].kind == e->kind && !obeys(&rules[i], e->body)) {
            return text_fail(err, "found an event '%s' without a valid '%s'",
                    kinds[e->kind], rules[i].field);
        }
    }
    if (e->kind == EVENT_HELLO && event_integer(e, "protocol", 0) != EVENT_PROTOCOL) {
        return text_fail(err, "found protocol %lld, expected %d",
                (long long)event_integer(e, "protocol", 0), EVENT_PROTOCOL);
    }
    enum status status;
    if (e->kind == EVENT_ERROR &&
            (!status_parse(event_text(e, "kind", ""), &status) || status == STATUS_OK ||
                    status >= STATUS_EXCLUDED)) {
        text_add(err, "found error kind ");
        text_add_quoted(err, event_text(e, "kind", ""));
        return text_fail(err, ", expected a status of an attempt");
    }
    return e->kind != EVENT_RESULT || check_result(e->body, err);
}

bool event_parse(const char *line, size_t size, struct event *out, struct text *err) {
    *out = (struct event){.kind = EVENT_OTHER};
    if (size > EVENT_LINE_MAX) {
        return text_fail(
                err, "found an event line longer than %d bytes", EVENT_LINE_MAX);
    }
    json_error_t error;
    json_t *body = json_loadb(line, size, JSON_REJECT_DUPLICATES, &error);
    if (!json_is_object(body)) {
        json_decref(body);
        return text_fail(err, "found a line that is no JSON object (%s)",
                body ? "another value" : error.text);
    }
    out->body = body;
    const char *name = json_string_value(json_object_get(body, "event"));
    const json_t *t_ms = json_object_get(body, "t_ms");
    bool ok = name && json_is_integer(t_ms) && json_integer_value(t_ms) >= 0;
    if (ok) {
        out->t_ms = json_integer_value(t_ms);
        for (int i = 0; i < EVENT_OTHER; i++) {
            if (!strcmp(kinds[i], name)) {
                out->kind = (enum event_kind)i;
            }
        }
        ok = check_fields(out, err);
    } else {
        text_fail(err, "found an object without '%s'", name ? "t_ms" : "event");
    }
    if (!ok) {
        event_finish(out);
    }
    return ok;
}

void event_finish(struct event *e) {
    json_decref(e->body);
    *e = (struct event){0};
}

int64_t event_integer(const struct event *e, const char *field, int64_t fallback) {
    const json_t *value = json_object_get(e->body, field);
    return json_is_integer(value) ? json_integer_value(value) : fallback;
}

double event_real(const struct event *e, const char *field, double fallback) {
    const json_t *value = json_object_get(e->body, field);
    return json_is_number(value) ? json_number_value(value) : fallback;
}

const char *event_text(const struct event *e, const char *field, const char *fallback) {
    const json_t *value = json_object_get(e->body, field);
    return json_is_string(value) ? json_string_value(value) : fallback;
}

static int64_t now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * INT64_C(1000000000) + now.tv_nsec;
}

void event_writer_init(struct event_writer *w, int fd) {
    int64_t now = now_ns();
    *w = (struct event_writer){.fd = fd,
            .start_ns = now,
            .last_ns = now,
            .writing = PTHREAD_MUTEX_INITIALIZER};
}

static bool write_line(int fd, const char *line, size_t size, struct text *err) {
    ssize_t written;
    do {
        written = write(fd, line, size);
    } while (written < 0 && errno == EINTR);
    if (written < 0) {
        return text_fail(err, "cannot write an event: %s", strerror(errno));
    }
    return (size_t)written == size ||
           text_fail(err, "cannot write an event: only %zd of %zu bytes fit", written,
                   size);
}

bool event_send_object(
        struct event_writer *w, const char *name, json_t *fields, struct text *err) {
    int64_t now = now_ns();
    json_t *body = json_pack("{s:s, s:I}", "event", name, "t_ms",
            (json_int_t)((now - w->start_ns) / 1000000));
    json_object_update(body, fields);
    json_decref(fields);
    char *json = json_dumps(body, JSON_COMPACT);
    json_decref(body);
    if (!json) {
        return text_fail(
                err, "cannot write an event: '%s' holds what is no JSON", name);
    }
    struct text line = {0};
    text_addf(&line, "%s\n", json);
    free(json);
    pthread_mutex_lock(&w->writing);
    bool ok = write_line(w->fd, line.data, line.size, err);
    pthread_mutex_unlock(&w->writing);
    text_finish(&line);
    w->last_ns = now;
    return ok;
}

bool event_send(struct event_writer *w, const char *name, struct text *err,
        const char *format, ...) {
    json_error_t error;
    va_list args;
    va_start(args, format);
    json_t *fields = json_vpack_ex(&error, 0, format, args);
    va_end(args);
    if (!fields) {
        return text_fail(err, "cannot write an event: '%s': %s", name, error.text);
    }
    return event_send_object(w, name, fields, err);
}

json_t *event_number(double x) {
    return isfinite(x) ? json_real(x) : json_null();
}

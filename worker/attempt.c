#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "worker/attempt.h"
#include "worker/measure.h"

#define SILENCE_NS 1000000000

static int64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

/* Whole number of an environment variable; `fallback` where it is not set. */
static bool environment(const char *name, int fallback, int *out, struct text *err) {
    const char *text = getenv(name);
    *out = fallback;
    if (!text) {
        return true;
    }
    char *end;
    errno = 0;
    long value = strtol(text, &end, 10);
    if (errno || end == text || *end || value < 0 || value > 1 << 20) {
        return text_fail(err, "%s is '%s', expected a whole number from 0", name, text);
    }
    *out = (int)value;
    return true;
}

bool attempt_init(struct attempt *a, struct text *err) {
    struct timespec used;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used);
    memset(a, 0, sizeof *a);
    a->before_main_ms = (double)used.tv_sec * 1e3 + (double)used.tv_nsec / 1e6;
    a->phase = "start";
    a->bytes_asked = a->bytes_free = -1;
    int fd;
    if (!environment("LM_EVENT_FD", STDOUT_FILENO, &fd, err) ||
            !environment("LM_RANK", 0, &a->rank, err) ||
            !environment("LM_WORLD", 1, &a->world, err) ||
            !environment("LM_LOCAL_RANK", a->rank, &a->local_rank, err) ||
            !environment("LM_SHM_FD", -1, &a->shm_fd, err)) {
        return false;
    }
    if (a->rank >= a->world) {
        return text_fail(err, "LM_RANK is %d, but LM_WORLD is %d", a->rank, a->world);
    }
    event_writer_init(&a->events, fd);
    return true;
}

void attempt_finish(struct attempt *a) {
    spec_finish(&a->spec);
    text_finish(&a->sentence);
}

bool attempt_fail(struct attempt *a, enum status status, const char *format, ...) {
    if (a->status == STATUS_OK) {
        a->status = status;
        va_list args;
        va_start(args, format);
        text_vaddf(&a->sentence, format, args);
        va_end(args);
    }
    return false;
}

bool attempt_fail_kernel(
        struct attempt *a, const struct kernel_error *why, struct text *err) {
    enum status status = STATUS_FAILED;
    if (why->kind == KERNEL_UNSUPPORTED) {
        status = STATUS_UNSUPPORTED;
    } else if (why->kind == KERNEL_DEVICE_FAULT) {
        status = STATUS_CRASHED;
    } else if (why->kind == KERNEL_OUT_OF_MEMORY ||
               why->kind == KERNEL_OUT_OF_DEVICE_MEMORY) {
        status =
                why->kind == KERNEL_OUT_OF_MEMORY ? STATUS_OOM_HOST : STATUS_OOM_DEVICE;
        if (a->status == STATUS_OK) {
            a->bytes_asked = (int64_t)why->bytes_asked;
            a->bytes_free = (int64_t)why->bytes_free;
        }
    }
    attempt_fail(a, status, "%s", err->size > 0 ? text_get(err) : why->sentence);
    text_clear(err);
    return false;
}

bool attempt_send_object(struct attempt *a, const char *name, json_t *fields) {
    struct text err = {0};
    // Before it is sent, as attempt_waiting() sets it afterwards: between two threads
    // it may stand without need, and then costs an event, but is never missing.
    a->waits = false;
    bool sent = event_send_object(&a->events, name, fields, &err);
    if (!sent) {
        attempt_fail(
                a, STATUS_FAILED, "cannot send event '%s': %s", name, text_get(&err));
    }
    text_finish(&err);
    return sent;
}

bool attempt_send(struct attempt *a, const char *name, const char *format, ...) {
    va_list args;
    va_start(args, format);
    json_error_t error;
    json_t *fields = json_vpack_ex(&error, 0, format, args);
    va_end(args);
    if (!fields) {
        return attempt_fail(
                a, STATUS_FAILED, "cannot build event '%s': %s", name, error.text);
    }
    return attempt_send_object(a, name, fields);
}

bool attempt_phase(struct attempt *a, const char *name) {
    a->phase = name;
    return attempt_send(a, "phase", "{s:s}", "name", name);
}

bool attempt_is_silent(const struct attempt *a) {
    return a->waits || attempt_is_mute(a);
}

bool attempt_is_mute(const struct attempt *a) {
    return now_ns() - a->events.last_ns >= SILENCE_NS;
}

void attempt_live(struct attempt *a) {
    int64_t now = now_ns(), last = a->events.last_ns;
    if (!a->waits && now - (last > a->alive_ns ? last : a->alive_ns) < SILENCE_NS) {
        return;
    }
    a->alive_ns = now;
    attempt_send(a, "progress", "{s:s, s:I}", "phase", a->phase, "done",
            (json_int_t)a->step);
    a->events.last_ns = last;
}

void attempt_waiting(struct attempt *a) {
    // Where it cannot be written, the rank's own thread will meet the same.
    struct text ignored = {0};
    event_send(&a->events, "progress", &ignored, "{s:s, s:I, s:b}", "phase", a->phase,
            "done", (json_int_t)a->step, "waiting", 1);
    text_finish(&ignored);
    a->waits = true;
}

double attempt_age_ms(const struct attempt *a) {
    return a->before_main_ms + (double)(now_ns() - a->events.start_ns) / 1e6;
}

void attempt_report_failure(struct attempt *a) {
    json_t *fields = json_pack("{s:s, s:s, s:I, s:s}", "kind", status_name(a->status),
            "phase", a->phase, "step", (json_int_t)a->step, "text",
            text_get(&a->sentence));
    if (a->bytes_asked >= 0) {
        json_object_set_new(fields, "bytes_asked", json_integer(a->bytes_asked));
    }
    if (a->bytes_free >= 0) {
        json_object_set_new(fields, "bytes_free", json_integer(a->bytes_free));
    }
    if (a->collateral) {
        json_object_set_new(fields, "collateral", json_true());
    }
    if (a->predicted) {
        json_object_set_new(fields, "predicted", json_true());
    }
    struct text err = {0};
    event_send_object(&a->events, "error", fields, &err);
    text_finish(&err);
}

void attempt_abandon(
        struct attempt *a, enum status status, bool collateral, const char *sentence) {
    struct text err = {0};
    event_send(&a->events, "error", &err, "{s:s, s:s, s:I, s:s, s:b}", "kind",
            status_name(status), "phase", a->phase, "step", (json_int_t)a->step, "text",
            sentence, "collateral", collateral);
    _exit(EXIT_FAILURE);
}

void attempt_report_refusal(const struct attempt *a, size_t bytes) {
    char line[400];
    int64_t left = measure_limit_left(), host = measure_host_free();
    int size = snprintf(line, sizeof line,
            "{\"event\":\"error\",\"t_ms\":%lld,\"kind\":\"%s\",\"phase\":\"%s\","
            "\"step\":%lld,\"text\":\"no memory for %zu bytes\",\"bytes_asked\":%zu,"
            "\"bytes_free\":%lld}\n",
            (long long)((now_ns() - a->events.start_ns) / 1000000),
            status_name(STATUS_OOM_HOST), a->phase, (long long)a->step, bytes, bytes,
            (long long)(left < host ? left : host));
    // Nothing can be done where even this cannot be said: the exit says enough.
    ssize_t written = write(a->events.fd, line, (size_t)size);
    (void)written;
}

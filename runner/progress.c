#include "runner/progress.h"

#include <fcntl.h>
#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "matrix/event.h"

#define TAIL_BYTES 8192

void progress_init(struct progress *p, FILE *out, int total, int64_t expected_ms) {
    *p = (struct progress){.out = out,
            .live = isatty(fileno(out)),
            .total = total,
            .left_ms = expected_ms};
}

void progress_clear(struct progress *p) {
    if (p->drawn) {
        fputs("\r\033[K", p->out);
        fflush(p->out);
        p->drawn = false;
    }
}

void progress_say(struct progress *p, const char *format, ...) {
    va_list args;
    progress_clear(p);
    va_start(args, format);
    vfprintf(p->out, format, args);
    va_end(args);
    fputc('\n', p->out);
    fflush(p->out);
}

void progress_add_duration(int64_t ms, struct text *out) {
    int64_t s = (ms + 500) / 1000;
    if (ms < 60000) {
        text_addf(out, "%.1f s", (double)ms / 1000);
    } else if (s < 3600) {
        text_addf(out, "%" PRId64 " min %" PRId64 " s", s / 60, s % 60);
    } else {
        text_addf(out, "%" PRId64 " h %" PRId64 " min", s / 3600, s % 3600 / 60);
    }
}

static void add_speed(double tokens_per_s, double bytes, struct text *out) {
    if (tokens_per_s > 0) {
        text_addf(out, "  %.0f tokens/s", tokens_per_s);
    }
    if (bytes > 0) {
        text_addf(out, "  %.1f MiB", bytes / 1048576);
    }
}

/* Append how an attempt ended and of which cell; `missed` as in progress_end(). */
static void add_end(const struct record *r, const char *missed, struct text *out) {
    if (missed) {
        text_addf(out, "%s, expected %s  %s", status_name(r->status), missed, r->cell);
    } else {
        text_addf(out, "%-11s %s", status_name(r->status), r->cell);
    }
    if (r->attempt > 1) {
        text_addf(out, " (attempt %d)", r->attempt);
    }
}

void progress_end(struct progress *p, const struct record *r, int64_t expected_ms,
        const char *missed) {
    struct text t = {0};
    p->done++;
    p->spent_ms += r->wall_ms;
    if (p->left_ms >= 0 && expected_ms >= 0) {
        p->left_ms = p->left_ms > expected_ms ? p->left_ms - expected_ms : 0;
    }
    text_addf(&t, "[%d/%d] ", p->done, p->total);
    add_end(r, missed, &t);
    // How long a lost attempt ran is not known.
    if (r->wall_ms > 0) {
        text_add(&t, "  ");
        progress_add_duration(r->wall_ms, &t);
    }
    add_speed(record_metric(r, "tokens_per_s"), record_metric(r, "peak_bytes"), &t);
    if (r->leaked) {
        text_addf(&t, "  killed %d left-over process%s", r->leaked,
                r->leaked == 1 ? "" : "es");
    }
    if (*r->error) {
        text_addf(&t, "  %s", r->error);
    }
    progress_say(p, "%s", text_get(&t));
    text_finish(&t);
}

void progress_stands(struct progress *p, const struct record *r, const char *missed) {
    struct text t = {0};
    add_end(r, missed, &t);
    progress_say(p, "stands: %s%s%s", text_get(&t), *r->error ? "  " : "", r->error);
    text_finish(&t);
}

void progress_probe(struct progress *p, const struct record *r) {
    struct text t = {0};
    text_addf(&t, "probe %-11s %s: batch %" PRId64 "%s  ", status_name(r->status),
            r->cell, params_integer(&r->params, PARAM_BATCH),
            r->predicted ? " (predicted)" : "");
    progress_add_duration(r->wall_ms, &t);
    progress_say(p, "%s", text_get(&t));
    text_finish(&t);
}

/* Append the last step's speed and the memory, from the end of rank 0's events. */
static void add_live(const char *folder, struct text *out) {
    struct text path = {0};
    char bytes[TAIL_BYTES + 1];
    struct stat st;
    text_addf(&path, "%s/rank0.jsonl", folder);
    int fd = open(text_get(&path), O_RDONLY | O_CLOEXEC);
    text_finish(&path);
    if (fd < 0) {
        return;
    }
    off_t from = fstat(fd, &st) == 0 && st.st_size > TAIL_BYTES
                         ? st.st_size - TAIL_BYTES
                         : 0;
    ssize_t n = pread(fd, bytes, TAIL_BYTES, from);
    close(fd);
    bytes[n > 0 ? n : 0] = '\0';
    double speed = 0, memory = 0, loss = NAN;
    int64_t step = -1;
    char *line = bytes, *end;
    for (; (end = strchr(line, '\n')); line = end + 1) {
        struct event e;
        struct text ignored = {0};
        if (event_parse(line, (size_t)(end - line), &e, &ignored)) {
            double ms = event_real(&e, "ms", 0);
            if (e.kind == EVENT_STEP) {
                step = event_integer(&e, "step", step);
                loss = event_real(&e, "loss", loss);
                speed = ms > 0 ? event_real(&e, "tokens", 0) * 1000 / ms : speed;
            } else if (e.kind == EVENT_MEMORY) {
                memory += (double)event_integer(&e, "planned_bytes", 0);
            }
            event_finish(&e);
        }
        text_finish(&ignored);
    }
    if (step >= 0) {
        text_addf(out, "  step %" PRId64, step);
    }
    if (isfinite(loss)) {
        text_addf(out, "  loss %.3f", loss);
    }
    add_speed(speed, memory, out);
}

/* What is left by earlier records, else by the mean of what this run has seen. */
static int64_t eta_ms(const struct progress *p, int64_t running_ms) {
    int64_t left = p->left_ms;
    if (left < 0 && p->done > 0) {
        left = p->spent_ms / p->done * (p->total - p->done);
    }
    return left < 0 ? -1 : left > running_ms ? left - running_ms : 0;
}

void progress_draw(
        struct progress *p, const char *cell, const char *folder, int64_t running_ms) {
    struct text t = {0};
    struct winsize size = {0};
    if (!p->live) {
        return;
    }
    int filled = p->total ? 20 * p->done / p->total : 0;
    text_addf(&t, "[%.*s%.*s] %d/%d %s", filled, "####################", 20 - filled,
            "....................", p->done, p->total, cell);
    add_live(folder, &t);
    int64_t eta = eta_ms(p, running_ms);
    if (eta >= 0) {
        text_add(&t, "  ETA ");
        progress_add_duration(eta, &t);
    }
    ioctl(fileno(p->out), TIOCGWINSZ, &size);
    int width = size.ws_col > 1 ? size.ws_col - 1 : 79;
    // A line that wraps could not be taken back.
    fprintf(p->out, "\r%.*s\033[K", width, text_get(&t));
    fflush(p->out);
    p->drawn = true;
    text_finish(&t);
}

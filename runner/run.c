#include "runner/run.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "matrix/results.h"
#include "reports/report.h"
#include "runner/attempts.h"
#include "runner/build.h"
#include "runner/clocks.h"
#include "runner/family.h"
#include "runner/machine.h"
#include "runner/matrices.h"
#include "runner/profile.h"
#include "runner/progress.h"
#include "runner/queue.h"
#include "runner/reclaim.h"
#include "runner/search.h"
#include "runner/signals.h"
#include "runner/store.h"
#include "runner/tuning.h"
#include "runner/workers.h"

#define EXIT_PASSED 0
#define EXIT_NOT_PASSED 1
#define EXIT_USAGE 2
#define EXIT_INTERRUPTED 130
#define LOOK_S 1    /* between looks at what only files tell */
#define MOST_TOLD 5 /* of the cells whose earlier results stand and do not pass */

struct run {
    const struct options *options;
    struct machine machine;
    struct workers workers;
    struct store store;
    struct matrices matrices;
    struct queue queue;
    struct progress progress;
    struct text profiler; /* that --profile found; empty without it */
    struct attempts attempts;
    struct pollfd *polled;
    int signal_fd, timer_fd;
    int interrupts;
    bool not_passed;  /* for a cell that stood, or a report */
    int stood_failed; /* cells whose earlier results stand, and do not pass */
};

/* ---- waiting ---- */

static void start_more(struct run *r, struct text *err) {
    while (!r->interrupts && attempts_start(&r->attempts, err)) {
        // Cells that end without being started must not keep a signal waiting.
        r->interrupts += signals_take(r->signal_fd);
    }
}

static void wait_for_something(struct run *r) {
    struct pollfd *p = r->polled;
    p[0] = (struct pollfd){.fd = r->signal_fd, .events = POLLIN};
    p[1] = (struct pollfd){.fd = r->timer_fd, .events = POLLIN};
    attempts_poll(&r->attempts, p + 2);
    int64_t next_ms = reclaim_next_ms(&r->attempts.reclaim), now_ms = clocks_now_ms();
    int limit_ms = next_ms == CLOCKS_NEVER ? -1
                   : next_ms > now_ms      ? (int)(next_ms - now_ms)
                                           : 0;
    while (poll(p, 2 + (nfds_t)r->options->jobs, limit_ms) < 0 && errno == EINTR) {
    }
}

static void take_interrupts(struct run *r) {
    int n = signals_take(r->signal_fd);
    if (n == 0) {
        return;
    }
    progress_say(&r->progress,
            r->interrupts ? "interrupted again: killing the running cells"
                          : "interrupted: ending the running cells (again: at once)");
    r->interrupts += n;
    attempts_cancel(&r->attempts);
}

/* Whether something is still to start once GPUs have their memory back. */
static bool more_may_start(const struct run *r) {
    return r->attempts.reclaim.count > 0 && !r->interrupts && !r->attempts.broken &&
           !queue_is_empty(&r->queue);
}

static void run_cells(struct run *r, struct text *err) {
    for (;;) {
        start_more(r, err);
        if (r->attempts.running == 0 && !more_may_start(r)) {
            return;
        }
        attempts_draw(&r->attempts);
        wait_for_something(r);
        if (r->polled[1].revents) {
            uint64_t ticks;
            ssize_t ignored = read(r->timer_fd, &ticks, sizeof ticks);
            (void)ignored;
        }
        attempts_collect(&r->attempts, r->polled + 2, err);
        take_interrupts(r);
    }
}

/* ---- the whole run ---- */

/* What --profile needs. Without it the attempt would be one like any other. */
static bool find_profiler(struct run *r, struct text *err) {
    if (!r->options->profile) {
        return true;
    }
    profile_find(&r->profiler);
    r->store.profiler = text_get(&r->profiler);
    return r->profiler.size ||
           text_fail(err,
                   "--profile: found neither nsys nor ncu in PATH, expected one of "
                   "them");
}

/* The one cell of --profile gets one attempt more, whatever it has. */
static bool choose_profiled(struct run *r, struct text *err) {
    const char *name = r->options->profile;
    if (!name) {
        return true;
    }
    if (r->queue.count != 1) {
        return text_fail(err, "--profile: '%s' names %zu cells that run, it takes one",
                name, r->queue.count);
    }
    struct queue_cell *c = &r->queue.cells[0];
    c->left = r->queue.total = c->has.live ? 0 : 1;
    r->queue.expected_ms = -1;
    return true;
}

static bool open_everything(struct run *r, struct text *err) {
    const struct options *o = r->options;
    r->store = (struct store){.machine = &r->machine,
            .workers = &r->workers,
            .fresh = o->fresh,
            .keep_stale = o->keep_stale,
            .repeats = o->repeats};
    store_set_retry(&r->store, o->retry.items);
    r->attempts = (struct attempts){.options = o,
            .store = &r->store,
            .workers = &r->workers,
            .cells = &r->matrices.cells,
            .queue = &r->queue,
            .progress = &r->progress};
    r->polled = text_allocate_zeroed((size_t)o->jobs + 2, sizeof *r->polled);
    r->signal_fd = signals_open(err);
    r->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    if (r->signal_fd < 0) {
        return false;
    }
    machine_init(&r->machine);
    if (!workers_init(&r->workers, err)) {
        return false;
    }
    return family_adopt_orphans(err) && attempts_init(&r->attempts, &r->machine, err) &&
           (o->command == COMMAND_TRY ? matrices_load_try(&r->matrices, o, err)
                                      : matrices_load(&r->matrices, o, err)) &&
           find_profiler(r, err) && matrices_write_plans(&r->matrices, o->out, err) &&
           queue_init(&r->queue, &r->matrices, &r->store, o->out, err) &&
           choose_profiled(r, err);
}

/* Whether a cell begins with probes, whose ends have to be looked for. */
static bool any_searches(const struct queue *q) {
    for (size_t i = 0; i < q->count; i++) {
        if (q->cells[i].left > 0 && search_is_needed(&q->cells[i].cell->params)) {
            return true;
        }
    }
    return false;
}

static void begin_progress(struct run *r) {
    progress_init(&r->progress, stderr, r->queue.total, r->queue.expected_ms);
    if (*build_unanswered()) {
        progress_say(&r->progress, "runner: %s", build_unanswered());
    }
    for (size_t i = 0; i < r->queue.count; i++) {
        const struct queue_cell *c = &r->queue.cells[i];
        if (c->has.live) {
            progress_say(&r->progress, "%s: left alone, another runner is at it",
                    c->cell->id);
        }
    }
    if (r->progress.live || any_searches(&r->queue)) {
        struct itimerspec every = {{LOOK_S, 0}, {LOOK_S, 0}};
        timerfd_settime(r->timer_fd, 0, &every, NULL);
    }
}

/* What another runner has finished by now is as good as our own. */
static void look_again(struct run *r, struct queue_cell *c) {
    struct text folder = {0}, ignored = {0};
    matrices_folder(r->options->out, c->cell->matrix, &folder);
    store_look(&r->store, text_get(&folder), c->cell, false, &c->has, &ignored);
    c->has.live = c->has.live || c->has.needed > 0;
    text_finish(&folder);
    text_finish(&ignored);
}

/* A cell that does not pass and is not run again: what its last record says of it. */
static void tell_standing(struct run *r, const struct queue_cell *c) {
    struct record record = {0};
    struct text folder = {0}, path = {0}, why = {0};
    matrices_folder(r->options->out, c->cell->matrix, &folder);
    results_cell_folder(text_get(&folder), c->cell->id, c->cell->hash, &path);
    text_addf(&path, "/attempt-%d", c->has.last_recorded);
    if (results_read_record(
                text_get(&path), c->cell, c->has.last_recorded, &record, &why)) {
        progress_stands(&r->progress, &record, attempts_missed(c->cell));
    } else {
        progress_say(&r->progress, "stands: %s: %s", c->cell->id, text_get(&why));
    }
    record_finish(&record);
    text_finish(&folder);
    text_finish(&path);
    text_finish(&why);
}

/* Cells that had all their attempts before this run count with their last one. */
static void count_standing(struct run *r) {
    for (size_t i = 0; i < r->queue.count; i++) {
        struct queue_cell *c = &r->queue.cells[i];
        if (c->has.live) {
            look_again(r, c);
            r->not_passed = r->not_passed || c->has.live;
        }
        if (c->left == 0 && !c->has.live &&
                (!c->has.recorded ||
                        !attempts_pass(&r->attempts, c->cell, c->has.last_status))) {
            r->not_passed = true;
            r->stood_failed += c->round == 0;
            if (c->round == 0 && r->stood_failed <= MOST_TOLD) {
                tell_standing(r, c);
            }
        }
        r->not_passed = r->not_passed || c->left > 0;
    }
    if (r->stood_failed > MOST_TOLD) {
        progress_say(&r->progress, "stands: and %d more", r->stood_failed - MOST_TOLD);
    }
}

static void summarise(struct run *r) {
    struct text t = {0};
    progress_clear(&r->progress);
    text_addf(&t, "%d attempt%s", r->progress.done, r->progress.done == 1 ? "" : "s");
    for (int s = 0; s < STATUS_COUNT; s++) {
        if (r->attempts.ended[s]) {
            text_addf(&t, ", %d %s", r->attempts.ended[s], status_name((enum status)s));
        }
    }
    size_t standing = 0;
    for (size_t i = 0; i < r->queue.count; i++) {
        standing += r->queue.cells[i].round == 0 && r->queue.cells[i].left == 0 &&
                    !r->queue.cells[i].has.live;
    }
    if (standing) {
        text_addf(&t, "; %zu cell%s had fresh results", standing,
                standing == 1 ? "" : "s");
    }
    if (r->stood_failed) {
        text_addf(&t, ", %d of which did not pass", r->stood_failed);
    }
    progress_say(&r->progress, "%s", text_get(&t));
    text_finish(&t);
}

static void write_reports(struct run *r) {
    struct text folder = {0}, why = {0};
    for (size_t d = 0; d < r->matrices.count; d++) {
        if (!matrices_runs(&r->matrices, d)) {
            continue;
        }
        matrices_folder(
                r->options->out, document_name(r->matrices.documents[d]), &folder);
        if (report_write(text_get(&folder), stdout, &why)) {
            progress_say(&r->progress, "report: %s/%s_report.md", text_get(&folder),
                    document_name(r->matrices.documents[d]));
        } else {
            progress_say(&r->progress, "runner: %s", text_get(&why));
            r->not_passed = true;
            text_clear(&why);
        }
    }
    fflush(stdout);
    text_finish(&folder);
    text_finish(&why);
}

static void close_everything(struct run *r) {
    attempts_finish(&r->attempts);
    free(r->polled);
    queue_finish(&r->queue);
    text_finish(&r->profiler);
    matrices_finish(&r->matrices);
    workers_finish(&r->workers);
    machine_finish(&r->machine);
    if (r->signal_fd >= 0) {
        close(r->signal_fd);
    }
    if (r->timer_fd >= 0) {
        close(r->timer_fd);
    }
}

/* Without a table cells run all the same, with the library's own choice. */
static void tune(struct run *r) {
    struct text why = {0};
    if (r->machine.gpu_count > 0 && !tuning_prepare(&r->queue, &r->workers,
                                            r->options->out, &r->progress, &why)) {
        progress_say(&r->progress, "no matrix products were timed: %s", text_get(&why));
    }
    text_finish(&why);
}

int run_command(const struct options *o, struct text *err) {
    struct run r = {.options = o, .signal_fd = -1, .timer_fd = -1};
    int code = EXIT_USAGE;
    if (open_everything(&r, err)) {
        begin_progress(&r);
        tune(&r);
        run_cells(&r, err);
        count_standing(&r);
        summarise(&r);
        write_reports(&r);
        bool passed = !r.not_passed && !r.attempts.not_passed && !r.attempts.broken;
        code = r.interrupts ? EXIT_INTERRUPTED : passed ? EXIT_PASSED : EXIT_NOT_PASSED;
    }
    close_everything(&r);
    return code;
}

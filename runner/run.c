#include "runner/run.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "matrix/record.h"
#include "reports/report.h"
#include "runner/clocks.h"
#include "runner/family.h"
#include "runner/launch.h"
#include "runner/machine.h"
#include "runner/matrices.h"
#include "runner/pool.h"
#include "runner/profile.h"
#include "runner/progress.h"
#include "runner/queue.h"
#include "runner/reclaim.h"
#include "runner/series.h"
#include "runner/signals.h"
#include "runner/store.h"
#include "runner/tuning.h"
#include "runner/workers.h"

#define EXIT_PASSED 0
#define EXIT_NOT_PASSED 1
#define EXIT_USAGE 2
#define EXIT_INTERRUPTED 130
#define SWEEP_MS 5000
#define DRAW_S 1

/* An attempt under way. */
struct active {
    struct launch launch;
    struct queue_cell *item; /* NULL: this place is free */
    struct pool_lease lease;
    int64_t *before_bytes; /* in use on its GPUs before it started */
    struct text folder;
    int64_t began_ms;
};

struct run {
    const struct options *options;
    const struct launcher *launcher;
    struct machine machine;
    struct workers workers;
    struct store store;
    struct matrices matrices;
    struct pool pool;
    struct reclaim reclaim;
    struct queue queue;
    struct progress progress;
    struct text profiler;  /* that --profile found; empty: none */
    struct active *active; /* --jobs places */
    int running;
    struct pollfd *polled;
    int signal_fd, timer_fd;
    int interrupts;
    bool broken; /* the results folder cannot be written: start nothing more */
    int ended[STATUS_COUNT];
    bool not_passed;
    int stood_failed; /* cells whose earlier results stand, and do not pass */
};

/* ---- what passes ---- */

static bool passes(const struct run *r, const struct cell *c, enum status status) {
    bool strict = r->options->strict;
    if (c->expect >= 0) {
        return (int)status == c->expect || (status == STATUS_UNSUPPORTED && !strict);
    }
    switch (status) {
    case STATUS_OK:
        return true;
    case STATUS_OOM_DEVICE:
    case STATUS_OOM_HOST:
    case STATUS_UNSUPPORTED:
        return !strict;
    default:
        return false;
    }
}

/* ---- one attempt ---- */

static void tell_profile(
        struct run *r, const struct record *record, const char *folder) {
    if (*record->profile) {
        progress_say(&r->progress, "profile: %s/%s", folder, record->profile);
    } else if (*record->profiler) {
        progress_say(
                &r->progress, "'%s' left no profile in '%s'", record->profiler, folder);
    }
}

static void conclude(
        struct run *r, struct queue_cell *item, const char *folder, struct text *err) {
    struct record record = {0};
    struct text path = {0}, why = {0};
    text_addf(&path, "%s/record.json", folder);
    if (record_read(text_get(&path), &record, &why)) {
        r->ended[record.status]++;
        item->has.recorded = true;
        item->has.last_status = record.status;
        bool passed = passes(r, item->cell, record.status);
        r->not_passed = r->not_passed || !passed;
        progress_end(&r->progress, &record, item->has.expected_ms,
                passed || item->cell->expect < 0
                        ? NULL
                        : status_name((enum status)item->cell->expect));
        tell_profile(r, &record, folder);
    } else {
        r->broken = true;
        r->not_passed = true;
        text_add(err, text_get(&why));
    }
    record_finish(&record);
    text_finish(&path);
    text_finish(&why);
    queue_done(item);
}

/* Record why a claimed attempt cannot be made. */
static void record_plainly(struct run *r, struct queue_cell *item, enum status status,
        const char *folder, const char *sentence, struct text *err) {
    if (store_record_plainly(&r->store, folder, item->cell, item->has.last_number,
                status, sentence, err)) {
        conclude(r, item, folder, err);
    } else {
        r->broken = true;
        queue_done(item);
    }
}

static void leave_alone(struct run *r, struct queue_cell *item) {
    progress_say(
            &r->progress, "%s: left alone, another runner is at it", item->cell->id);
    r->progress.total -= item->left + 1;
    item->left = 0;
    item->has.live = true;
    queue_done(item);
}

/* Claim the next attempt of `item` into `folder`. */
static bool claim(struct run *r, struct queue_cell *item, char *const *worker,
        struct text *folder, struct text *err) {
    struct text matrix_folder = {0};
    matrices_folder(r->options->out, item->cell->matrix, &matrix_folder);
    enum store_claim answer = store_claim(&r->store, text_get(&matrix_folder),
            item->cell, item->has.last_number + 1, worker, folder, err);
    text_finish(&matrix_folder);
    switch (answer) {
    case STORE_CLAIMED:
        item->has.last_number++;
        return true;
    case STORE_TAKEN:
        leave_alone(r, item);
        return false;
    default:
        r->broken = true;
        queue_done(item);
        return false;
    }
}

static void start_claimed(struct run *r, struct queue_cell *item, char *const *worker,
        struct pool_lease *lease, struct text *err) {
    struct active *a = r->active;
    struct text numbers = {0}, why = {0};
    while (a->item) {
        a++;
    }
    if (claim(r, item, worker, &a->folder, err)) {
        struct launch_gpus gpus = {0};
        int64_t *before_bytes = reclaim_before(&r->reclaim, lease, &gpus.missing_bytes);
        pool_show(lease, &numbers);
        gpus.numbers = (char *)text_get(&numbers);
        // A cell that was given no GPU sees none, or a peer's `auto` would take one.
        if (r->launcher->start(&a->launch, text_get(&a->folder),
                    r->workers.override ? NULL : &gpus, &why)) {
            a->item = item;
            a->lease = *lease;
            a->before_bytes = before_bytes;
            a->began_ms = clocks_now_ms();
            *lease = (struct pool_lease){0};
            r->running++;
        } else {
            free(before_bytes);
            record_plainly(
                    r, item, STATUS_FAILED, text_get(&a->folder), text_get(&why), err);
        }
    }
    text_finish(&numbers);
    text_finish(&why);
}

/*
 * Cells that are held against each other run on the same devices: all cells where one
 * runs at a time, else those of a scaling series.
 */
static bool needs_first(const struct run *r, const struct cell *c, int gpus) {
    return gpus > 0 && (r->options->jobs == 1 || series_has(&r->matrices.cells, c));
}

/* False where `item` had to be put back for want of a place or GPUs. */
static bool start_one(struct run *r, struct queue_cell *item, struct text *err) {
    const struct params *p = &item->cell->params;
    struct text why = {0}, folder = {0};
    struct pool_lease lease = {0};
    char **worker = workers_choose(&r->workers, p, &why);
    int gpus = worker && !r->workers.override && workers_uses_gpu(&r->workers, p)
                       ? (int)params_integer(p, PARAM_RANKS)
                       : 0;
    bool started = true;
    if (gpus > r->pool.gpu_count) {
        text_addf(&why, "asks for %d GPU%s, this run has %d", gpus, gpus > 1 ? "s" : "",
                r->pool.gpu_count);
    }
    if (why.size) {
        if (claim(r, item, NULL, &folder, err)) {
            record_plainly(r, item, STATUS_UNSUPPORTED, text_get(&folder),
                    text_get(&why), err);
        }
    } else if (!pool_take(&r->pool, gpus, needs_first(r, item->cell, gpus), &lease)) {
        queue_put_back(&r->queue, item);
        started = false;
    } else {
        start_claimed(r, item, worker, &lease, err);
        pool_give_back(&r->pool, &lease);
    }
    free(worker);
    text_finish(&why);
    text_finish(&folder);
    return started;
}

static void start_more(struct run *r, struct text *err) {
    while (!r->interrupts && !r->broken && r->running < r->options->jobs) {
        struct queue_cell *item = queue_next(&r->queue);
        if (!item || !start_one(r, item, err)) {
            return;
        }
        // Cells that end without being started must not keep a signal waiting.
        r->interrupts += signals_take(r->signal_fd);
    }
}

/* Kill what a dead supervisor left to us, its subreaper: all but the other supervisors'
 * families. */
static void sweep_strays(struct run *r) {
    pid_t *spare = text_allocate_zeroed((size_t)r->options->jobs + 2, sizeof *spare);
    int count = 0;
    if (r->reclaim.gauge.child.pid) {
        spare[count++] = r->reclaim.gauge.child.pid;
    }
    for (int i = 0; i < r->options->jobs; i++) {
        if (r->active[i].item) {
            spare[count++] = r->active[i].launch.child.pid;
        }
    }
    family_kill_all(spare, count, SWEEP_MS);
    free(spare);
}

static void finish_one(struct run *r, struct active *a, struct text *err) {
    struct queue_cell *item = a->item;
    struct text why = {0}, worse = {0};
    bool clean = r->launcher->collect(&a->launch, &why);
    a->item = NULL;
    r->running--;
    if (!clean) {
        sweep_strays(r);
    }
    if (store_settle(&r->store, text_get(&a->folder), item->cell, item->has.last_number,
                clean ? "the supervisor left no record" : text_get(&why), &worse)) {
        conclude(r, item, text_get(&a->folder), err);
    } else {
        r->broken = true;
        r->not_passed = true;
        text_clear(err);
        text_add(err, why.size ? text_get(&why) : text_get(&worse));
        queue_done(item);
    }
    reclaim_wait(&r->reclaim, &r->pool, &a->lease, a->before_bytes, item->cell->id,
            clocks_now_ms());
    text_finish(&why);
    text_finish(&worse);
}

/* ---- waiting ---- */

static void cancel_all(struct run *r) {
    for (int i = 0; i < r->options->jobs; i++) {
        if (r->active[i].item) {
            r->launcher->cancel(&r->active[i].launch);
        }
    }
}

static void draw(struct run *r) {
    for (int i = 0; i < r->options->jobs; i++) {
        const struct active *a = &r->active[i];
        if (a->item) {
            progress_draw(&r->progress, a->item->cell->id, text_get(&a->folder),
                    clocks_now_ms() - a->began_ms);
            return;
        }
    }
}

static void wait_for_something(struct run *r) {
    struct pollfd *p = r->polled;
    p[0] = (struct pollfd){.fd = r->signal_fd, .events = POLLIN};
    p[1] = (struct pollfd){.fd = r->timer_fd, .events = POLLIN};
    for (int i = 0; i < r->options->jobs; i++) {
        const struct active *a = &r->active[i];
        p[2 + i] = (struct pollfd){
                .fd = a->item ? r->launcher->descriptor(&a->launch) : -1,
                .events = POLLIN};
    }
    int64_t next_ms = reclaim_next_ms(&r->reclaim), now_ms = clocks_now_ms();
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
    cancel_all(r);
}

/* GPUs whose memory is back may be used again. */
static void reclaim_gpus(struct run *r) {
    struct text said = {0};
    reclaim_look(&r->reclaim, &r->pool, clocks_now_ms(), &said);
    for (const char *line = text_get(&said); *line; line = strchr(line, '\n') + 1) {
        progress_say(&r->progress, "%.*s", (int)strcspn(line, "\n"), line);
    }
    text_finish(&said);
}

/* Whether something is still to start once GPUs have their memory back. */
static bool more_may_start(const struct run *r) {
    return r->reclaim.count > 0 && !r->interrupts && !r->broken &&
           !queue_is_empty(&r->queue);
}

static void run_cells(struct run *r, struct text *err) {
    for (;;) {
        start_more(r, err);
        if (r->running == 0 && !more_may_start(r)) {
            return;
        }
        draw(r);
        wait_for_something(r);
        if (r->polled[1].revents) {
            uint64_t ticks;
            ssize_t ignored = read(r->timer_fd, &ticks, sizeof ticks);
            (void)ignored;
        }
        for (int i = 0; i < r->options->jobs; i++) {
            if (r->active[i].item && r->polled[2 + i].revents) {
                finish_one(r, &r->active[i], err);
            }
        }
        reclaim_gpus(r);
        take_interrupts(r);
    }
}

/* ---- the whole run ---- */

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
    profile_find(&r->profiler);
    r->store.profiler = text_get(&r->profiler);
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
    r->active = text_allocate_zeroed((size_t)o->jobs, sizeof *r->active);
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
    reclaim_init(&r->reclaim, r->workers.has_cuda ? r->workers.cuda : NULL,
            r->machine.gpu_bus_ids, r->machine.gpu_count);
    return family_adopt_orphans(err) &&
           pool_init(&r->pool, o->jobs, o->devices.count ? o->devices.items : NULL,
                   r->machine.gpu_count, err) &&
           (o->command == COMMAND_TRY ? matrices_load_try(&r->matrices, o, err)
                                      : matrices_load(&r->matrices, o, err)) &&
           matrices_write_plans(&r->matrices, o->out, err) &&
           queue_init(&r->queue, &r->matrices, &r->store, o->out, err) &&
           choose_profiled(r, err);
}

static void begin_progress(struct run *r) {
    progress_init(&r->progress, stderr, r->queue.total, r->queue.expected_ms);
    for (size_t i = 0; i < r->queue.count; i++) {
        const struct queue_cell *c = &r->queue.cells[i];
        if (c->has.live) {
            progress_say(&r->progress, "%s: left alone, another runner is at it",
                    c->cell->id);
        }
    }
    if (r->options->profile && !r->profiler.size) {
        progress_say(&r->progress,
                "no profiler was found in PATH (nsys, ncu): '%s' runs plainly",
                r->options->profile);
    }
    if (r->progress.live) {
        struct itimerspec every = {{DRAW_S, 0}, {DRAW_S, 0}};
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

/* Cells that had all their attempts before this run count with their last one. */
static void count_standing(struct run *r) {
    for (size_t i = 0; i < r->queue.count; i++) {
        struct queue_cell *c = &r->queue.cells[i];
        if (c->has.live) {
            look_again(r, c);
            r->not_passed = r->not_passed || c->has.live;
        }
        if (c->left == 0 && !c->has.live &&
                (!c->has.recorded || !passes(r, c->cell, c->has.last_status))) {
            r->not_passed = true;
            r->stood_failed += c->round == 0;
        }
        r->not_passed = r->not_passed || c->left > 0;
    }
}

static void summarise(struct run *r) {
    struct text t = {0};
    progress_clear(&r->progress);
    text_addf(&t, "%d attempt%s", r->progress.done, r->progress.done == 1 ? "" : "s");
    for (int s = 0; s < STATUS_COUNT; s++) {
        if (r->ended[s]) {
            text_addf(&t, ", %d %s", r->ended[s], status_name((enum status)s));
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
    for (int i = 0; r->active && i < r->options->jobs; i++) {
        text_finish(&r->active[i].folder);
    }
    free(r->active);
    free(r->polled);
    queue_finish(&r->queue);
    text_finish(&r->profiler);
    matrices_finish(&r->matrices);
    reclaim_finish(&r->reclaim);
    pool_finish(&r->pool);
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
    struct run r = {
            .options = o, .launcher = &launch_local, .signal_fd = -1, .timer_fd = -1};
    int code = EXIT_USAGE;
    if (open_everything(&r, err)) {
        begin_progress(&r);
        tune(&r);
        run_cells(&r, err);
        count_standing(&r);
        summarise(&r);
        write_reports(&r);
        code = r.interrupts               ? EXIT_INTERRUPTED
               : r.not_passed || r.broken ? EXIT_NOT_PASSED
                                          : EXIT_PASSED;
    }
    close_everything(&r);
    return code;
}

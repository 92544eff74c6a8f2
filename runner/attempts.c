#include "runner/attempts.h"

#include <inttypes.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

#include "matrix/found.h"
#include "matrix/record.h"
#include "runner/clocks.h"
#include "runner/family.h"
#include "runner/launch.h"
#include "runner/probes.h"
#include "runner/refuted.h"
#include "runner/search.h"
#include "runner/series.h"

#define SWEEP_MS 5000

/* An attempt under way. */
struct active {
    struct launch launch;
    struct queue_cell *item; /* NULL: this place is free */
    struct pool_lease lease;
    int64_t *before_bytes; /* in use on its GPUs before it started */
    struct text folder;
    struct probes probes; /* of its search, as far as they were told */
    int64_t began_ms;
};

bool attempts_init(
        struct attempts *all, const struct machine *machine, struct text *err) {
    const struct options *o = all->options;
    const struct workers *w = all->workers;
    all->launcher = &launch_local;
    all->active = text_allocate_zeroed((size_t)o->jobs, sizeof *all->active);
    reclaim_init(&all->reclaim, w->has_cuda ? w->cuda : NULL, machine->gpu_bus_ids,
            machine->gpu_count);
    return pool_init(&all->pool, o->jobs, o->devices.count ? o->devices.items : NULL,
            machine->gpu_count, err);
}

void attempts_finish(struct attempts *all) {
    for (int i = 0; all->active && i < all->options->jobs; i++) {
        text_finish(&all->active[i].folder);
    }
    free(all->active);
    reclaim_finish(&all->reclaim);
    pool_finish(&all->pool);
}

/* ---- what one came to ---- */

bool attempts_pass(
        const struct attempts *all, const struct cell *c, enum status status) {
    bool strict = all->options->strict;
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

const char *attempts_missed(const struct cell *c) {
    return c->expect < 0 ? NULL : status_name((enum status)c->expect);
}

static void tell_profile(
        struct attempts *all, const struct record *record, const char *folder) {
    if (*record->profile) {
        progress_say(all->progress, "profile: %s/%s", folder, record->profile);
    } else if (*record->profiler) {
        progress_say(all->progress, "'%s' left no profile in '%s'", record->profiler,
                folder);
    }
}

/* Whether the batch that `record` was made with is refuted and the cell gets another
 * attempt, which is then queued. */
static bool is_refuted(
        struct attempts *all, struct queue_cell *item, const struct record *record) {
    struct refuted *f = &item->has.refuted;
    if (*record->profiler || !refuted_take(f, record) || !refuted_goes_on(f)) {
        return false;
    }
    item->left++;
    all->queue->total++;
    all->progress->total++;
    return true;
}

static void tell_refuted(struct attempts *all, const struct queue_cell *item,
        const struct record *record) {
    const struct refuted *f = &item->has.refuted;
    struct found found;
    found_read(record, &found);
    progress_say(all->progress,
            "%s: a probe trained with batch %" PRId64 ", the attempt itself ran out of "
            "memory: the next one searches up to %" PRId64 " (%d of %d)",
            record->cell, found.batch, refuted_most(f), f->times, REFUTED_TRIES);
}

static void conclude(struct attempts *all, struct queue_cell *item, const char *folder,
        struct text *err) {
    struct record record = {0};
    struct text path = {0}, why = {0};
    text_addf(&path, "%s/record.json", folder);
    if (record_read(text_get(&path), &record, &why)) {
        all->ended[record.status]++;
        item->has.recorded = true;
        item->has.last_status = record.status;
        bool again = is_refuted(all, item, &record);
        bool passed = again || attempts_pass(all, item->cell, record.status);
        all->not_passed = all->not_passed || !passed;
        progress_end(all->progress, &record, item->has.expected_ms,
                passed ? NULL : attempts_missed(item->cell));
        tell_profile(all, &record, folder);
        if (again) {
            tell_refuted(all, item, &record);
        }
    } else {
        all->broken = true;
        all->not_passed = true;
        text_add(err, text_get(&why));
    }
    record_finish(&record);
    text_finish(&path);
    text_finish(&why);
    queue_done(item);
}

/* Record why a claimed attempt cannot be made. */
static void record_plainly(struct attempts *all, struct queue_cell *item,
        enum status status, const char *folder, const char *sentence,
        struct text *err) {
    if (store_record_plainly(all->store, folder, item->cell, item->has.last_number,
                status, sentence, err)) {
        conclude(all, item, folder, err);
    } else {
        all->broken = true;
        queue_done(item);
    }
}

/* ---- starting ---- */

static void leave_alone(struct attempts *all, struct queue_cell *item) {
    progress_say(
            all->progress, "%s: left alone, another runner is at it", item->cell->id);
    all->progress->total -= item->left + 1;
    item->left = 0;
    item->has.live = true;
    queue_done(item);
}

/* Claim the next attempt of `item` into `folder`. */
static bool claim(struct attempts *all, struct queue_cell *item, char *const *worker,
        struct text *folder, struct text *err) {
    struct text matrix_folder = {0};
    matrices_folder(all->options->out, item->cell->matrix, &matrix_folder);
    enum store_claim answer = store_claim(all->store, text_get(&matrix_folder),
            item->cell, &item->has, worker, folder, err);
    text_finish(&matrix_folder);
    switch (answer) {
    case STORE_CLAIMED:
        item->has.last_number++;
        return true;
    case STORE_TAKEN:
        leave_alone(all, item);
        return false;
    default:
        all->broken = true;
        queue_done(item);
        return false;
    }
}

static void start_claimed(struct attempts *all, struct queue_cell *item,
        char *const *worker, struct pool_lease *lease, struct text *err) {
    struct active *a = all->active;
    struct text numbers = {0}, why = {0};
    while (a->item) {
        a++;
    }
    if (claim(all, item, worker, &a->folder, err)) {
        struct launch_gpus gpus = {0};
        int64_t *before_bytes =
                reclaim_before(&all->reclaim, lease, &gpus.missing_bytes);
        pool_show(lease, &numbers);
        gpus.numbers = (char *)text_get(&numbers);
        // A cell that was given no GPU sees none, or a peer's `auto` would take one.
        if (all->launcher->start(&a->launch, text_get(&a->folder),
                    all->workers->override ? NULL : &gpus, &why)) {
            a->item = item;
            a->lease = *lease;
            a->before_bytes = before_bytes;
            a->began_ms = clocks_now_ms();
            *lease = (struct pool_lease){0};
            all->running++;
        } else {
            free(before_bytes);
            record_plainly(all, item, STATUS_FAILED, text_get(&a->folder),
                    text_get(&why), err);
        }
    }
    text_finish(&numbers);
    text_finish(&why);
}

/*
 * From which of its GPUs on a cell must be served; −1: any will do. Cells that are held
 * against each other run on the same ones: all cells where one runs at a time, else
 * those of a scaling series.
 */
static int first_gpu(const struct attempts *all, const struct cell *c) {
    int asked = (int)params_integer(&c->params, PARAM_FIRST_GPU);
    bool held = asked > 0 || all->options->jobs == 1 || series_has(all->cells, c);
    return held ? asked : -1;
}

/* Why there are too few GPUs for a cell that wants `gpus`; empty: there are enough. */
static void check_gpus(
        const struct attempts *all, const struct cell *c, int gpus, struct text *why) {
    int first = (int)params_integer(&c->params, PARAM_FIRST_GPU);
    if (gpus == 0 || first + gpus <= all->pool.gpu_count) {
        return;
    }
    text_addf(why, "asks for %d GPU%s", gpus, gpus > 1 ? "s" : "");
    if (first > 0) {
        text_addf(why, " behind the first %d", first);
    }
    text_addf(why, ", this run has %d", all->pool.gpu_count);
}

/* False where `item` had to be put back for want of a place or GPUs. */
static bool start_one(struct attempts *all, struct queue_cell *item, struct text *err) {
    const struct params *p = &item->cell->params;
    struct text why = {0}, folder = {0};
    struct pool_lease lease = {0};
    char **worker = workers_choose(all->workers, p, &why);
    int gpus = worker && !all->workers->override && workers_uses_gpu(all->workers, p)
                       ? (int)params_integer(p, PARAM_RANKS)
                       : 0;
    bool started = true;
    check_gpus(all, item->cell, gpus, &why);
    if (why.size) {
        if (claim(all, item, NULL, &folder, err)) {
            record_plainly(all, item, STATUS_UNSUPPORTED, text_get(&folder),
                    text_get(&why), err);
        }
    } else if (!pool_take(&all->pool, gpus, first_gpu(all, item->cell), &lease)) {
        queue_put_back(all->queue, item);
        started = false;
    } else {
        start_claimed(all, item, worker, &lease, err);
        pool_give_back(&all->pool, &lease);
    }
    free(worker);
    text_finish(&why);
    text_finish(&folder);
    return started;
}

bool attempts_start(struct attempts *all, struct text *err) {
    if (all->broken || all->running == all->options->jobs) {
        return false;
    }
    struct queue_cell *item = queue_next(all->queue);
    return item && start_one(all, item, err);
}

/* ---- ending ---- */

/* Kill what a dead supervisor left to us, its subreaper: all but the other supervisors'
 * families. */
static void sweep_strays(struct attempts *all) {
    pid_t *spare = text_allocate_zeroed((size_t)all->options->jobs + 2, sizeof *spare);
    int count = 0;
    if (all->reclaim.gauge.child.pid) {
        spare[count++] = all->reclaim.gauge.child.pid;
    }
    for (int i = 0; i < all->options->jobs; i++) {
        if (all->active[i].item) {
            spare[count++] = all->active[i].launch.child.pid;
        }
    }
    family_kill_all(spare, count, SWEEP_MS);
    free(spare);
}

static void finish_one(struct attempts *all, struct active *a, struct text *err) {
    struct queue_cell *item = a->item;
    struct text why = {0}, worse = {0};
    bool clean = all->launcher->collect(&a->launch, &why);
    probes_finish(&a->probes);
    a->item = NULL;
    all->running--;
    if (!clean) {
        sweep_strays(all);
    }
    if (store_settle(all->store, text_get(&a->folder), item->cell,
                item->has.last_number,
                clean ? "the supervisor left no record" : text_get(&why), &worse)) {
        conclude(all, item, text_get(&a->folder), err);
    } else {
        all->broken = true;
        all->not_passed = true;
        text_clear(err);
        text_add(err, why.size ? text_get(&why) : text_get(&worse));
        queue_done(item);
    }
    reclaim_wait(&all->reclaim, &all->pool, &a->lease, a->before_bytes, item->cell->id,
            clocks_now_ms());
    text_finish(&why);
    text_finish(&worse);
}

/* GPUs whose memory is back may be used again. */
static void reclaim_gpus(struct attempts *all) {
    struct text said = {0};
    reclaim_look(&all->reclaim, &all->pool, clocks_now_ms(), &said);
    for (const char *line = text_get(&said); *line; line = strchr(line, '\n') + 1) {
        progress_say(all->progress, "%.*s", (int)strcspn(line, "\n"), line);
    }
    text_finish(&said);
}

/* ---- all of them ---- */

void attempts_poll(const struct attempts *all, struct pollfd *polled) {
    for (int i = 0; i < all->options->jobs; i++) {
        const struct active *a = &all->active[i];
        // poll() passes over negative descriptors.
        polled[i] = (struct pollfd){
                .fd = a->item ? all->launcher->descriptor(&a->launch) : -1,
                .events = POLLIN};
    }
}

static void tell_probes(struct attempts *all) {
    for (int i = 0; i < all->options->jobs; i++) {
        struct active *a = &all->active[i];
        if (a->item && search_is_needed(&a->item->cell->params)) {
            probes_tell(&a->probes, text_get(&a->folder), all->progress);
        }
    }
}

void attempts_collect(
        struct attempts *all, const struct pollfd *polled, struct text *err) {
    tell_probes(all);
    for (int i = 0; i < all->options->jobs; i++) {
        if (all->active[i].item && polled[i].revents) {
            finish_one(all, &all->active[i], err);
        }
    }
    reclaim_gpus(all);
}

void attempts_cancel(struct attempts *all) {
    for (int i = 0; i < all->options->jobs; i++) {
        if (all->active[i].item) {
            all->launcher->cancel(&all->active[i].launch);
        }
    }
}

void attempts_draw(struct attempts *all) {
    for (int i = 0; i < all->options->jobs; i++) {
        const struct active *a = &all->active[i];
        if (a->item) {
            progress_draw(all->progress, a->item->cell->id, text_get(&a->folder),
                    clocks_now_ms() - a->began_ms);
            return;
        }
    }
}

#include "runner/search.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "matrix/file.h"
#include "matrix/found.h"
#include "matrix/record.h"
#include "runner/bracket.h"
#include "runner/clocks.h"
#include "runner/estimate.h"
#include "runner/family.h"
#include "runner/gauge.h"
#include "runner/launch.h"
#include "runner/reclaim.h"
#include "runner/signals.h"
#include "runner/workers.h"

#define PROBE_STEPS 3 /* every allocation there is has been made after two */
#define SWEEP_MS 10000

/* The attempt's GPUs, whose memory has to be back before the next probe. */
struct devices {
    struct workers workers;
    struct gauge gauge;
    char **bus_ids; /* NULL-terminated; the strings are the machine's */
    int count;
    int64_t *before_bytes;
};

/* How one probe ended. */
struct probe {
    int64_t batch;
    enum status status;
    bool predicted;
    int64_t bytes_free; /* that the refused plan had; −1 unknown */
    int64_t ms;
};

bool search_is_needed(const struct params *p) {
    return params_integer(p, PARAM_TASK) == TASK_TRAIN && params_batch(p) < 0;
}

static struct params probe_params(const struct spec *spec, int64_t batch) {
    struct params p = spec->params;
    p.values[PARAM_BATCH].integer = batch;
    p.values[PARAM_STEPS].integer = PROBE_STEPS;
    p.values[PARAM_WARMUP_STEPS].integer = 1;
    p.values[PARAM_EPOCHS].integer = 0;
    p.values[PARAM_EVAL_EVERY].integer = 0;
    p.values[PARAM_EVAL_BATCHES].integer = 1;
    p.values[PARAM_INJECT].integer = INJECT_NONE;
    return p;
}

/* The probe's folder with all that a supervisor needs to find there. */
static bool prepare(
        const struct search *s, int64_t batch, struct text *folder, struct text *err) {
    struct spec spec = *s->spec;
    struct owner owner = *s->owner;
    struct text path = {0};
    spec.params = probe_params(s->spec, batch);
    spec.expect = -1;
    spec.profiler = NULL; // of the attempt proper
    spec.batch_most = 0;
    // For the probe's supervisor we are the runner.
    machine_self(&owner.runner);
    owner.supervisor = (struct owner_process){0};
    text_addf(folder, "%s/probe-%lld", s->folder, (long long)batch);
    bool ok = file_make_folders(text_get(folder), err);
    text_addf(&path, "%s/owner.json", text_get(folder));
    ok = ok && owner_write(text_get(&path), &owner, err);
    text_clear(&path);
    text_addf(&path, "%s/spec.json", text_get(folder));
    ok = ok && spec_write(text_get(&path), &spec, err);
    text_finish(&path);
    return ok;
}

/* Sleep until the probe's supervisor has ended, passing on what ends the attempt. */
static enum search_end await(const struct search *s, struct launch *l) {
    enum search_end end = SEARCH_DONE;
    int parent_fd = s->parent_fd;
    for (;;) {
        struct pollfd p[] = {
                {.fd = launch_local.descriptor(l), .events = POLLIN},
                {.fd = s->signal_fd, .events = POLLIN},
                {.fd = parent_fd, .events = POLLIN},
        };
        if (poll(p, 3, -1) < 0) {
            continue;
        }
        for (int n = signals_take(s->signal_fd); n > 0; n--) {
            // With grace the first time; the second time its family follows below.
            child_signal(&l->child, end == SEARCH_INTERRUPTED ? SIGKILL : SIGTERM);
            end = end == SEARCH_DONE ? SEARCH_INTERRUPTED : end;
        }
        if (p[2].revents) {
            child_signal(&l->child, SIGKILL);
            end = SEARCH_ORPHANED;
            parent_fd = -1;
        }
        if (p[0].revents) {
            return end;
        }
    }
}

static void read_outcome(const char *folder, struct probe *p) {
    struct record r = {0};
    struct text path = {0}, ignored = {0};
    text_addf(&path, "%s/record.json", folder);
    p->status = STATUS_LOST;
    p->bytes_free = -1;
    if (record_read(text_get(&path), &r, &ignored)) {
        p->status = r.status;
        p->predicted = r.predicted;
        p->bytes_free = r.bytes_free;
    }
    record_finish(&r);
    text_finish(&path);
    text_finish(&ignored);
}

/* ---- devices ---- */

static void find_devices(const struct search *s, struct devices *d) {
    const struct machine *m = s->machine;
    struct text ignored = {0};
    *d = (struct devices){0};
    workers_init(&d->workers, &ignored);
    gauge_init(&d->gauge, d->workers.has_cuda ? d->workers.cuda : NULL);
    d->bus_ids = text_allocate_zeroed((size_t)m->gpu_count + 1, sizeof *d->bus_ids);
    char *copy = text_copy(s->gpus->numbers ? s->gpus->numbers : ""), *rest = copy;
    char *word;
    while ((word = strsep(&rest, ",")) && *word && d->count < m->gpu_count) {
        long number = strtol(word, NULL, 10);
        if (number >= 0 && number < m->gpu_count) {
            d->bus_ids[d->count++] = m->gpu_bus_ids[number];
        }
    }
    d->before_bytes =
            text_allocate_zeroed((size_t)d->count + 1, sizeof *d->before_bytes);
    gauge_read(&d->gauge, d->bus_ids, d->count, d->before_bytes, NULL);
    free(copy);
    text_finish(&ignored);
}

static void finish_devices(struct devices *d) {
    gauge_finish(&d->gauge);
    workers_finish(&d->workers);
    free(d->bus_ids);
    free(d->before_bytes);
}

static bool memory_is_back(struct devices *d) {
    int64_t *now = text_allocate_zeroed((size_t)d->count + 1, sizeof *now);
    bool back = true;
    gauge_read(&d->gauge, d->bus_ids, d->count, now, NULL);
    for (int i = 0; i < d->count; i++) {
        back = back && !reclaim_is_missing(d->before_bytes[i], now[i]);
    }
    free(now);
    return back;
}

/* A probe that meets what the last one has not given back yet would mislead. */
static void await_memory(const struct search *s, struct devices *d) {
    int64_t deadline_ms = clocks_now_ms() + RECLAIM_LIMIT_MS;
    int pause_ms = RECLAIM_FIRST_PAUSE_MS;
    while (!memory_is_back(d) && clocks_now_ms() < deadline_ms) {
        // What ends the attempt is only seen here: the next probe acts on it.
        struct pollfd p[] = {{.fd = s->signal_fd, .events = POLLIN},
                {.fd = s->parent_fd, .events = POLLIN}};
        if (poll(p, 2, pause_ms) > 0) {
            return;
        }
        pause_ms = 2 * pause_ms < RECLAIM_LAST_PAUSE_MS ? 2 * pause_ms
                                                        : RECLAIM_LAST_PAUSE_MS;
    }
}

/* ---- probes ---- */

static enum search_end make_probe(const struct search *s, struct devices *d,
        int64_t batch, struct probe *p, struct text *err) {
    struct launch l = {0};
    struct text folder = {0}, ignored = {0};
    enum search_end end = SEARCH_FAILED;
    int64_t began_ms = clocks_now_ms();
    *p = (struct probe){.batch = batch, .status = STATUS_LOST};
    if (prepare(s, batch, &folder, err) &&
            launch_local.start(&l, text_get(&folder), NULL, err)) {
        end = await(s, &l);
        launch_local.collect(&l, &ignored);
        // Its supervisor has swept already, unless it was killed.
        family_kill_all(&d->gauge.child.pid, d->gauge.child.pid ? 1 : 0, SWEEP_MS);
        await_memory(s, d);
        read_outcome(text_get(&folder), p);
        p->ms = clocks_now_ms() - began_ms;
    }
    text_finish(&folder);
    text_finish(&ignored);
    return end;
}

enum finding { TRAINS, DOES_NOT, IS_A_FAULT };

static enum finding finding_of(enum status status) {
    if (found_trains(status)) {
        return TRAINS;
    }
    switch (status) {
    case STATUS_OOM_DEVICE:
    case STATUS_OOM_HOST:
    case STATUS_TIMEOUT:
    case STATUS_HANG:
    case STATUS_UNSUPPORTED:
        return DOES_NOT;
    default:
        return IS_A_FAULT;
    }
}

/* Whether what a probe came to is known: of one that was ended with the attempt only
 * where it was faster. */
static bool is_known(enum search_end end, enum status status) {
    return end == SEARCH_DONE ||
           (status != STATUS_LOST && status != STATUS_INTERRUPTED);
}

static void keep(json_t *probes, const struct probe *p) {
    json_array_append_new(
            probes, json_pack("{s:I, s:s, s:b, s:f}", "batch", (json_int_t)p->batch,
                            "status", status_name(p->status), "predicted", p->predicted,
                            "seconds", (double)p->ms / 1e3));
}

/*
 * Where to begin: with what the plan promises; below a refuted batch, which is near to
 * what trains, with the largest that is left.
 */
static void begin(const struct search *s, struct estimate *e, struct bracket *b) {
    int64_t most = s->spec->batch_most, promised = estimate_batch(e);
    bracket_init(b, most && most < BRACKET_MOST ? most : BRACKET_MOST);
    bracket_hint(b, promised ? promised : most);
}

/* What the record keeps of it. */
static void note(struct search *s, json_t *probes, int64_t ms) {
    s->record = json_pack("{s:f, s:o}", "seconds", (double)ms / 1e3, "probes", probes);
    if (s->spec->batch_most) {
        json_object_set_new(s->record, "most", json_integer(s->spec->batch_most));
    }
}

enum search_end search_run(struct search *s, struct text *err) {
    struct bracket b;
    struct estimate estimate;
    struct devices devices;
    struct probe p;
    int64_t began_ms = clocks_now_ms(), batch;
    json_t *probes = json_array();
    enum search_end end = SEARCH_DONE;
    bool fault = false;
    find_devices(s, &devices);
    estimate_init(&estimate, s->spec, devices.bus_ids);
    begin(s, &estimate, &b);
    while (end == SEARCH_DONE && !fault && (batch = bracket_next(&b))) {
        end = make_probe(s, &devices, batch, &p, err);
        if (is_known(end, p.status)) {
            keep(probes, &p);
        }
        if (end != SEARCH_DONE) {
            break;
        }
        fault = finding_of(p.status) == IS_A_FAULT;
        bracket_learn(&b, batch, finding_of(p.status) == TRAINS);
        // A device's context takes memory that no plan counts: the refusal says what
        // is really left.
        if (p.predicted && estimate_limit(&estimate, p.bytes_free)) {
            bracket_hint(&b, estimate_batch(&estimate));
        }
    }
    finish_devices(&devices);
    note(s, probes, clocks_now_ms() - began_ms);
    if (end == SEARCH_DONE) {
        s->batch = fault ? batch : b.low ? b.low : 1;
        json_object_set_new(s->record, "batch", json_integer(s->batch));
    }
    return end;
}

void search_finish(struct search *s) {
    json_decref(s->record);
    s->record = NULL;
}

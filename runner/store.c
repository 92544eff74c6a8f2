#include "runner/store.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "matrix/file.h"
#include "matrix/owner.h"
#include "matrix/results.h"
#include "matrix/spec.h"
#include "runner/build.h"
#include "runner/cgroup.h"
#include "runner/family.h"
#include "runner/folder.h"
#include "runner/outcome.h"

#define SWEEP_MS 5000
#define SURVIVOR_MS 60000 /* a supervisor without a runner is done long before */
#define CLAIM_AGE_S 60    /* a claim without an owner this old is nobody's */

/* ---- freshness ---- */

/* Whether `r` was made by the worker, data and machine that would serve it today. */
static bool is_fresh(const struct store *s, const struct record *r) {
    struct text today = {0}, ignored = {0};
    char **worker = workers_choose(s->workers, &r->params, &ignored);
    if (worker) {
        build_identify(worker, &today, &ignored);
    }
    free(worker);
    const char *build =
            json_string_value(json_object_get(r->provenance, "worker_build"));
    bool fresh = build && !strcmp(build, text_get(&today));
    text_clear(&today);
    build_digest_data(params_text(&r->params, PARAM_DATA), &today, &ignored);
    const char *data =
            json_string_value(json_object_get(r->provenance, "data_files_digest"));
    fresh = fresh && data && !strcmp(data, text_get(&today));
    const char *machine = json_string_value(json_object_get(r->provenance, "machine"));
    fresh = fresh && machine && !strcmp(machine, s->machine->name);
    text_finish(&today);
    text_finish(&ignored);
    return fresh;
}

static bool unfinished(enum status status) {
    return status == STATUS_LOST || status == STATUS_INTERRUPTED ||
           status == STATUS_PREEMPTED;
}

void store_set_retry(struct store *s, const char *const *words) {
    for (; *words; words++) {
        enum status one;
        if (!strcmp(*words, "all")) {
            for (int i = STATUS_OK + 1; i < STATUS_EXCLUDED; i++) {
                s->retry[i] = true;
            }
        } else if (status_parse(*words, &one)) {
            s->retry[one] = true;
        }
    }
}

/* ---- owners ---- */

enum life { LIFE_DEAD, LIFE_ALIVE, LIFE_SURVIVOR /* supervisor without its runner */ };

static enum life life_of(const struct machine *m, const struct owner *o) {
    if (machine_process_lives(m, o, &o->runner)) {
        return LIFE_ALIVE;
    }
    if (!machine_process_lives(m, o, &o->supervisor)) {
        return LIFE_DEAD;
    }
    // One started by hand has no runner to miss.
    return o->runner.pid ? LIFE_SURVIVOR : LIFE_ALIVE;
}

static void wait_for(int64_t pid) {
    int fd = (int)syscall(SYS_pidfd_open, (pid_t)pid, 0);
    if (fd >= 0) {
        struct pollfd p = {.fd = fd, .events = POLLIN};
        poll(&p, 1, SURVIVOR_MS);
        close(fd);
    }
}

static bool exists(const char *folder, const char *name) {
    struct text path = {0};
    text_addf(&path, "%s/%s", folder, name);
    bool there = access(text_get(&path), F_OK) == 0;
    text_finish(&path);
    return there;
}

static bool read_owner(const char *folder, struct owner *o) {
    struct text path = {0}, ignored = {0};
    text_addf(&path, "%s/owner.json", folder);
    bool ok = owner_read(text_get(&path), o, &ignored);
    text_finish(&path);
    text_finish(&ignored);
    return ok;
}

static void sweep(const struct machine *m, const struct owner *o) {
    // What another host or an earlier boot left behind is not ours to find.
    if (o->boot_id && !strcmp(o->boot_id, m->boot_id)) {
        if (o->cgroup) {
            cgroup_destroy_path(o->cgroup);
        }
        family_kill_nonce(o->nonce, SWEEP_MS);
    }
}

/* The spec as claimed; after a power failure it may be gone, the cell is not. */
static bool spec_of(
        const char *folder, const struct cell *cell, int number, struct spec *out) {
    struct text path = {0}, ignored = {0};
    text_addf(&path, "%s/spec.json", folder);
    bool found = spec_read(text_get(&path), out, &ignored);
    if (!found && cell) {
        found = true;
        out->matrix = text_copy(cell->matrix);
        out->cell = text_copy(cell->id);
        memcpy(out->hash, cell->hash, sizeof out->hash);
        out->attempt = number;
        out->expect = cell->expect;
        out->worker = text_allocate_zeroed(1, sizeof *out->worker);
        out->params = cell->params;
    }
    text_finish(&path);
    text_finish(&ignored);
    return found;
}

bool store_record_plainly(const struct store *s, const char *folder,
        const struct cell *cell, int number, enum status status, const char *sentence,
        struct text *err) {
    struct spec spec = {0};
    struct owner o = {0};
    read_owner(folder, &o);
    bool ok = !spec_of(folder, cell, number, &spec) ||
              outcome_write_plain(folder, &spec, s->machine, status, sentence,
                      o.started_unix_ms, err);
    spec_finish(&spec);
    owner_finish(&o);
    return ok;
}

bool store_settle(const struct store *s, const char *folder, const struct cell *cell,
        int number, const char *sentence, struct text *err) {
    struct owner o = {0};
    if (exists(folder, "record.json")) {
        return true;
    }
    if (read_owner(folder, &o)) {
        sweep(s->machine, &o);
    }
    owner_finish(&o);
    return store_record_plainly(s, folder, cell, number, STATUS_LOST, sentence, err);
}

/* ---- looking ---- */

static int attempt_number(const char *name) {
    char *end;
    long n = strtol(name + strlen("attempt-"), &end, 10);
    return *end == '\0' && n > 0 && n < INT_MAX ? (int)n : 0;
}

/* An attempt without a record: alive, or dead and then recorded as lost. */
static bool take_unrecorded(const struct store *s, const char *folder,
        const struct cell *cell, bool repair, struct store_cell *out,
        struct text *err) {
    struct owner o = {0};
    bool ok = true;
    enum life life = read_owner(folder, &o) ? life_of(s->machine, &o) : LIFE_DEAD;
    if (life == LIFE_SURVIVOR && repair) {
        wait_for(o.supervisor.pid);
        owner_finish(&o);
        life = read_owner(folder, &o) ? life_of(s->machine, &o) : LIFE_DEAD;
    }
    if (life != LIFE_DEAD) {
        out->live = out->live || life == LIFE_ALIVE || repair;
    } else if (repair) {
        ok = store_settle(s, folder, cell, out->last_number,
                "runner and supervisor died while this attempt ran", err);
    }
    owner_finish(&o);
    return ok;
}

/* Count one attempt; `standing` and `last_stands` are the caller's tally. */
static void take_record(const struct store *s, const char *folder,
        const struct cell *cell, struct store_cell *out, int *standing,
        bool *last_stands) {
    struct record r = {0};
    struct text ignored = {0};
    bool read = results_read_record(folder, cell, out->last_number, &r, &ignored);
    bool stale = read && !is_fresh(s, &r);
    if (read && (*r.profiler || (stale && out->recorded && record_lacks_engine(&r)))) {
        // Its numbers are used nowhere, or it has none for want of its engine, which is
        // there today: the cell has, or lacks, what it had before.
        record_finish(&r);
        return;
    }
    *last_stands = false;
    if (read) {
        out->recorded = true;
        out->last_recorded = out->last_number;
        out->last_status = r.status;
        out->last_stale = stale;
        out->predicted = r.predicted;
        if (!unfinished(r.status)) {
            out->expected_ms = r.wall_ms;
        }
        bool counts = !s->fresh && (!stale || s->keep_stale);
        bool unsettled = counts && refuted_take(&out->refuted, &r) &&
                         refuted_goes_on(&out->refuted);
        *last_stands =
                counts && !unfinished(r.status) && !s->retry[r.status] && !unsettled;
        *standing += *last_stands;
    } else if (exists(folder, "record.json")) {
        out->recorded = true;
        out->last_recorded = out->last_number;
        out->last_status = STATUS_LOST;
        out->last_stale = out->predicted = false;
    }
    record_finish(&r);
    text_finish(&ignored);
}

static int by_number(const void *a, const void *b) {
    int x = attempt_number(*(char *const *)a), y = attempt_number(*(char *const *)b);
    return (x > y) - (x < y);
}

static void drop_dead_claims(const struct store *s, const char *cell_folder) {
    char **names = folder_names(cell_folder, ".claim-");
    struct text path = {0}, ignored = {0};
    for (char **n = names; *n; n++) {
        struct owner o = {0};
        struct stat st;
        text_clear(&path);
        text_addf(&path, "%s/%s", cell_folder, *n);
        bool dead = read_owner(text_get(&path), &o)
                            ? life_of(s->machine, &o) == LIFE_DEAD
                            : stat(text_get(&path), &st) == 0 &&
                                      time(NULL) - st.st_mtime > CLAIM_AGE_S;
        if (dead) {
            folder_remove(text_get(&path), &ignored);
        }
        owner_finish(&o);
    }
    folder_free_names(names);
    text_finish(&path);
    text_finish(&ignored);
}

bool store_repair(const struct store *s, const char *matrix_folder, struct text *err) {
    struct text folder = {0}, path = {0};
    bool ok = true;
    text_addf(&folder, "%s/cells", matrix_folder);
    char **cells = folder_names(text_get(&folder), "");
    for (char **c = cells; ok && *c; c++) {
        text_clear(&folder);
        text_addf(&folder, "%s/cells/%s", matrix_folder, *c);
        char **attempts = folder_names(text_get(&folder), "attempt-");
        for (char **a = attempts; ok && *a; a++) {
            struct store_cell ignored = {0};
            text_clear(&path);
            text_addf(&path, "%s/%s", text_get(&folder), *a);
            if (attempt_number(*a) && !exists(text_get(&path), "record.json")) {
                ok = take_unrecorded(s, text_get(&path), NULL, true, &ignored, err);
            }
        }
        folder_free_names(attempts);
        drop_dead_claims(s, text_get(&folder));
    }
    folder_free_names(cells);
    text_finish(&folder);
    text_finish(&path);
    return ok;
}

bool store_look(const struct store *s, const char *matrix_folder,
        const struct cell *cell, bool repair, struct store_cell *out,
        struct text *err) {
    struct text folder = {0}, path = {0};
    int standing = 0;
    bool last_stands = true, ok = true;
    *out = (struct store_cell){.expected_ms = -1};
    results_cell_folder(matrix_folder, cell->id, cell->hash, &folder);
    char **names = folder_names(text_get(&folder), "attempt-");
    size_t count = 0;
    while (names[count]) {
        count++;
    }
    qsort(names, count, sizeof *names, by_number);
    for (size_t i = 0; ok && i < count; i++) {
        int number = attempt_number(names[i]);
        if (!number) {
            continue;
        }
        out->last_number = number;
        text_clear(&path);
        text_addf(&path, "%s/%s", text_get(&folder), names[i]);
        if (!exists(text_get(&path), "record.json")) {
            ok = take_unrecorded(s, text_get(&path), cell, repair, out, err);
        }
        take_record(s, text_get(&path), cell, out, &standing, &last_stands);
    }
    int wanted =
            s->repeats ? s->repeats : (int)params_integer(&cell->params, PARAM_REPEATS);
    wanted = wanted > 0 ? wanted : 1;
    out->needed = wanted > standing ? wanted - standing : 0;
    if (out->needed == 0 && !last_stands) {
        out->needed = 1;
    }
    folder_free_names(names);
    text_finish(&folder);
    text_finish(&path);
    return ok;
}

bool store_is_live(const struct machine *m, const char *path) {
    char **names = folder_names(path, "attempt-");
    struct text folder = {0};
    bool live = false;
    for (char **n = names; *n && !live; n++) {
        struct owner o = {0};
        text_clear(&folder);
        text_addf(&folder, "%s/%s", path, *n);
        live = !exists(text_get(&folder), "record.json") &&
               read_owner(text_get(&folder), &o) && life_of(m, &o) != LIFE_DEAD;
        owner_finish(&o);
    }
    folder_free_names(names);
    text_finish(&folder);
    return live;
}

/* ---- claiming ---- */

static bool fill_claim(const struct store *s, const char *claim,
        const struct cell *cell, const struct store_cell *has, char *const *worker,
        const char *nonce, struct text *err) {
    char *none[] = {NULL};
    struct text path = {0};
    struct owner o = {.host = s->machine->host,
            .boot_id = s->machine->boot_id,
            .started_unix_ms = machine_unix_ms()};
    struct spec spec = {.matrix = (char *)cell->matrix,
            .cell = (char *)cell->id,
            .attempt = has->last_number + 1,
            .expect = cell->expect,
            .worker = (char **)(worker ? worker : none),
            .profiler = (char *)(s->profiler ? s->profiler : ""),
            .batch_most = refuted_most(&has->refuted),
            .params = cell->params};
    memcpy(spec.hash, cell->hash, sizeof spec.hash);
    memcpy(o.nonce, nonce, strlen(nonce) + 1);
    machine_self(&o.runner);
    text_addf(&path, "%s/owner.json", claim);
    bool ok = owner_write(text_get(&path), &o, err);
    text_clear(&path);
    text_addf(&path, "%s/spec.json", claim);
    ok = ok && spec_write(text_get(&path), &spec, err);
    text_finish(&path);
    return ok;
}

enum store_claim store_claim(const struct store *s, const char *matrix_folder,
        const struct cell *cell, const struct store_cell *has, char *const *worker,
        struct text *folder, struct text *err) {
    char nonce[33];
    struct text cell_folder = {0}, claim = {0}, ignored = {0};
    enum store_claim answer = STORE_FAILED;
    machine_nonce(nonce);
    results_cell_folder(matrix_folder, cell->id, cell->hash, &cell_folder);
    text_clear(folder);
    text_addf(folder, "%s/attempt-%d", text_get(&cell_folder), has->last_number + 1);
    text_addf(&claim, "%s/.claim-%s", text_get(&cell_folder), nonce);
    if (!file_make_folders(text_get(&claim), err)) {
        goto done;
    }
    if (!fill_claim(s, text_get(&claim), cell, has, worker, nonce, err)) {
        goto undo;
    }
    // Refused where attempt-N exists: it is never empty.
    if (rename(text_get(&claim), text_get(folder)) == 0) {
        answer = STORE_CLAIMED;
        goto done;
    }
    if (errno == EEXIST || errno == ENOTEMPTY) {
        answer = STORE_TAKEN;
    } else {
        text_fail(err, "cannot claim '%s': %s", text_get(folder), strerror(errno));
    }
undo:
    folder_remove(text_get(&claim), &ignored);
done:
    text_finish(&cell_folder);
    text_finish(&claim);
    text_finish(&ignored);
    return answer;
}

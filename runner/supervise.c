#include "runner/supervise.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "matrix/owner.h"
#include "matrix/record.h"
#include "matrix/spec.h"
#include "runner/cgroup.h"
#include "runner/clocks.h"
#include "runner/family.h"
#include "runner/launch.h"
#include "runner/machine.h"
#include "runner/outcome.h"
#include "runner/search.h"
#include "runner/spawn.h"
#include "runner/verdict.h"
#include "runner/watch.h"

#define SWEEP_MS 10000 /* how long the kernel may take to bury what was killed */

struct supervisor {
    const char *folder;
    struct spec spec;
    struct owner owner;
    struct machine machine;
    struct cgroup cgroup;
    struct launch_gpus gpus;
    struct search search;  /* for `batch: max` */
    struct text spec_path; /* what the ranks read */
    int64_t memory_limit;
    struct watch watch;
    int world; /* how many ranks the spec asks for */
    int shm_fd;
    int64_t oom_before; /* kernel's count when we began */
};

static void path_of(const struct supervisor *s, const char *name, struct text *out) {
    text_clear(out);
    text_addf(out, "%s/%s", s->folder, name);
}

/* ---- setting up ---- */

/*
 * Say in owner.json who supervises, then exchange the parent-death signal, which would
 * kill only us, for a watch on the parent that lets us kill everything below first.
 * Until then nothing runs below, so a SIGKILL from it leaves nothing behind.
 */
static bool register_owner(struct supervisor *s, struct text *err) {
    struct text path = {0}, ignored = {0};
    path_of(s, "owner.json", &path);
    if (!owner_read(text_get(&path), &s->owner, &ignored)) {
        // Started by hand.
        s->owner.host = text_copy(s->machine.host);
        s->owner.boot_id = text_copy(s->machine.boot_id);
        s->owner.started_unix_ms = machine_unix_ms();
        machine_nonce(s->owner.nonce);
    }
    machine_self(&s->owner.supervisor);
    free(s->owner.cgroup);
    s->owner.cgroup = cgroup_leaf(s->owner.nonce);
    bool ok = owner_write(text_get(&path), &s->owner, err);
    text_finish(&path);
    text_finish(&ignored);
    if (!ok) {
        return false;
    }
    pid_t parent = getppid();
    s->watch.parent_fd = (int)syscall(SYS_pidfd_open, parent, 0);
    if (s->owner.runner.pid && s->owner.runner.pid != parent) {
        return text_fail(err, "the runner that claimed '%s' is gone", s->folder);
    }
    if (s->watch.parent_fd >= 0) {
        fcntl(s->watch.parent_fd, F_SETFD, FD_CLOEXEC);
        prctl(PR_SET_PDEATHSIG, 0);
    }
    return true;
}

static bool make_shared_memory(struct supervisor *s, struct text *err) {
    if (s->world < 2) {
        return true;
    }
    s->shm_fd = memfd_create("lm-matrix", MFD_CLOEXEC);
    return s->shm_fd >= 0 ||
           text_fail(err, "cannot make shared memory: %s", strerror(errno));
}

/* The PCI address of a rank's GPU; NULL where it has none that we know of. */
static const char *bus_id_of(const struct supervisor *s, int rank) {
    int number = launch_gpu_number(&s->gpus, rank);
    return number >= 0 && number < s->machine.gpu_count ? s->machine.gpu_bus_ids[number]
                                                        : NULL;
}

static bool start_rank(struct supervisor *s, struct rank *r, struct text *err) {
    struct spawn with = {.folder = s->folder,
            .spec_path = text_get(&s->spec_path),
            .spec = &s->spec,
            .nonce = s->owner.nonce,
            .world = s->world,
            .shm_fd = s->shm_fd,
            .cgroup_fd = s->cgroup.folder_fd,
            .memory_limit = s->memory_limit,
            .bus_id = bus_id_of(s, r->number)};
    if (!spawn_rank(&with, r, err)) {
        return false;
    }
    watch_started(&s->watch, r);
    return true;
}

/* ---- one attempt ---- */

static void start_all(struct supervisor *s) {
    struct watch *w = &s->watch;
    struct text why = {0};
    bool ok = make_shared_memory(s, &why) &&
              watch_add_ranks(w, s->world, s->folder, &why);
    for (int i = 0; ok && i < w->count; i++) {
        ok = start_rank(s, &w->ranks[i], &why);
    }
    if (!ok) {
        watch_fail(w, &why);
    }
    text_finish(&why);
}

static bool write_record(struct supervisor *s, int leaked, bool oom_killed,
        int64_t started_unix_ms, struct text *err) {
    const struct watch *w = &s->watch;
    struct verdict_input in = {
            .ranks = w->ranks,
            .count = w->count,
            .stop = w->stop,
            .strike = w->strike,
            .strike_rank = w->strike_rank,
            .clocks = &w->clocks,
            .reason = text_get(&w->reason),
            .oom_killed = oom_killed,
    };
    struct verdict v = {0};
    verdict_reach(&in, &v);
    struct outcome o = {
            .folder = s->folder,
            .spec = &s->spec,
            .machine = &s->machine,
            .ranks = w->ranks,
            .count = w->count,
            .verdict = &v,
            .started_unix_ms = started_unix_ms,
            .began_ms = w->clocks.began_ms,
            .ended_ms = clocks_now_ms(),
            .leaked = leaked,
            .gpus = &s->gpus,
            .search = s->search.record,
            .limits = !s->memory_limit         ? ""
                      : s->cgroup.memory_limit ? "RLIMIT_DATA, cgroup2"
                                               : "RLIMIT_DATA",
    };
    struct record r = {0};
    struct text path = {0};
    outcome_record(&o, &r);
    path_of(s, "record.json", &path);
    bool ok = record_write(text_get(&path), &r, err);
    record_finish(&r);
    verdict_finish(&v);
    text_finish(&path);
    return ok;
}

/* Name the ranks their spec; for `batch: max` one with the batch that was found. */
static bool write_resolved(struct supervisor *s, struct text *err) {
    struct spec resolved = s->spec;
    resolved.params.values[PARAM_BATCH].integer = s->search.batch;
    path_of(s, "spec_resolved.json", &s->spec_path);
    return spec_write(text_get(&s->spec_path), &resolved, err);
}

static void resolve_batch(struct supervisor *s) {
    struct text why = {0};
    path_of(s, "spec.json", &s->spec_path);
    if (!search_is_needed(&s->spec.params)) {
        return;
    }
    s->search = (struct search){.folder = s->folder,
            .spec = &s->spec,
            .owner = &s->owner,
            .machine = &s->machine,
            .gpus = &s->gpus,
            .signal_fd = s->watch.signal_fd,
            .parent_fd = s->watch.parent_fd};
    switch (search_run(&s->search, &why)) {
    case SEARCH_INTERRUPTED:
        s->watch.stop = VERDICT_STOP_INTERRUPTED;
        break;
    case SEARCH_ORPHANED:
        s->watch.stop = VERDICT_STOP_ORPHANED;
        break;
    case SEARCH_DONE:
        if (write_resolved(s, &why)) {
            break;
        }
        // fall through
    default:
        watch_fail(&s->watch, &why);
    }
    text_finish(&why);
}

static bool run_attempt(struct supervisor *s, struct text *err) {
    int64_t started_unix_ms = machine_unix_ms();
    resolve_batch(s);
    s->memory_limit = params_integer(&s->spec.params, PARAM_MEMORY_LIMIT);
    s->world = (int)params_integer(&s->spec.params, PARAM_RANKS);
    cgroup_create(&s->cgroup, s->owner.cgroup, s->memory_limit * s->world);
    s->oom_before = machine_oom_kills();
    clocks_init(&s->watch.clocks, &s->spec.params);
    if (s->spec.profiler && *s->spec.profiler) {
        // It stops the world to replay a kernel, and writes its report in silence.
        s->watch.clocks.start_ms = s->watch.clocks.heartbeat_ms = 0;
    }
    if (s->watch.stop == VERDICT_STOP_NONE) {
        start_all(s);
    }
    watch_run(&s->watch);
    bool oom_killed =
            cgroup_oom_kills(&s->cgroup) > 0 || machine_oom_kills() > s->oom_before;
    int leaked = family_kill_all(NULL, 0, SWEEP_MS);
    for (int i = 0; i < s->watch.count; i++) {
        output_cut(&s->watch.ranks[i].output);
    }
    cgroup_destroy(&s->cgroup);
    return write_record(s, leaked, oom_killed, started_unix_ms, err);
}

bool supervise_run(const char *folder, struct text *err) {
    struct supervisor s = {.folder = folder, .shm_fd = -1, .cgroup = {.folder_fd = -1}};
    struct text path = {0};
    watch_init(&s.watch);
    path_of(&s, "spec.json", &path);
    machine_init(&s.machine);
    launch_told(&s.gpus);
    bool ok = spec_read(text_get(&path), &s.spec, err) && watch_open(&s.watch, err) &&
              family_adopt_orphans(err) && register_owner(&s, err) &&
              run_attempt(&s, err);
    watch_finish(&s.watch);
    if (s.shm_fd >= 0) {
        close(s.shm_fd);
    }
    text_finish(&s.spec_path);
    search_finish(&s.search);
    launch_gpus_finish(&s.gpus);
    spec_finish(&s.spec);
    owner_finish(&s.owner);
    machine_finish(&s.machine);
    text_finish(&path);
    return ok;
}

#include "runner/supervise.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
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
#include "runner/rank.h"
#include "runner/search.h"
#include "runner/signals.h"
#include "runner/spawn.h"
#include "runner/verdict.h"

#define GRACE_MS 5000  /* from SIGTERM to SIGKILL */
#define SWEEP_MS 10000 /* how long the kernel may take to bury what was killed */
#define WATCHED 3      /* descriptors polled besides the ranks' */

struct supervisor {
    const char *folder;
    struct spec spec;
    struct owner owner;
    struct machine machine;
    struct cgroup cgroup;
    struct clocks clocks;
    struct launch_gpus gpus;
    struct search search;  /* for `batch: max` */
    struct text spec_path; /* what the ranks read */
    int64_t memory_limit;

    struct rank *ranks;
    int count, alive, ended;
    int signal_fd, timer_fd, parent_fd, shm_fd;
    struct pollfd *polled;

    enum verdict_stop stop;
    enum clocks_strike strike;
    int strike_rank;
    struct text reason; /* VERDICT_STOP_FAILED */
    bool stopping;      /* signals have been sent, or wait for `kill_at_ms` */
    int64_t kill_at_ms; /* CLOCKS_NEVER unless a grace period runs */
    int64_t oom_before; /* kernel's count when we began */
};

static void path_of(const struct supervisor *s, const char *name, struct text *out) {
    text_clear(out);
    text_addf(out, "%s/%s", s->folder, name);
}

/* ---- setting up ---- */

static bool open_signals(struct supervisor *s, struct text *err) {
    s->signal_fd = signals_open(err);
    if (s->signal_fd < 0) {
        return false;
    }
    s->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    return s->timer_fd >= 0 ||
           text_fail(err, "cannot make a timer: %s", strerror(errno));
}

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
    s->parent_fd = (int)syscall(SYS_pidfd_open, parent, 0);
    if (s->owner.runner.pid && s->owner.runner.pid != parent) {
        return text_fail(err, "the runner that claimed '%s' is gone", s->folder);
    }
    if (s->parent_fd >= 0) {
        fcntl(s->parent_fd, F_SETFD, FD_CLOEXEC);
        prctl(PR_SET_PDEATHSIG, 0);
    }
    return true;
}

static bool make_shared_memory(struct supervisor *s, struct text *err) {
    if (s->count < 2) {
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
            .world = s->count,
            .shm_fd = s->shm_fd,
            .cgroup_fd = s->cgroup.folder_fd,
            .memory_limit = s->memory_limit,
            .bus_id = bus_id_of(s, r->number)};
    if (!spawn_rank(&with, r, err)) {
        return false;
    }
    r->heard_ms = r->moved_ms = clocks_now_ms();
    s->alive++;
    return true;
}

/* ---- stopping ---- */

static bool poll_ranks_once(struct supervisor *s);

/*
 * End what still runs: at once, or by SIGTERM and, after the grace period, SIGKILL.
 * What a rank had said before this moment is read first, since what it says afterwards
 * is not held against it.
 */
static void stop_ranks(struct supervisor *s, bool gently) {
    poll_ranks_once(s);
    for (int i = 0; i < s->count; i++) {
        struct rank *r = &s->ranks[i];
        if (r->started && !r->ended) {
            r->killed = true;
            child_signal(&r->child, gently ? SIGTERM : SIGKILL);
        }
    }
    s->stopping = true;
    s->kill_at_ms = gently ? clocks_now_ms() + GRACE_MS : CLOCKS_NEVER;
}

static void stop_for(struct supervisor *s, enum verdict_stop why, bool gently) {
    if (s->stop == VERDICT_STOP_NONE) {
        s->stop = why;
    }
    stop_ranks(s, gently);
}

static void fail(struct supervisor *s, struct text *why) {
    if (s->stop != VERDICT_STOP_FAILED) {
        text_clear(&s->reason);
        text_add(&s->reason, text_get(why));
    }
    text_clear(why);
    s->stop = VERDICT_STOP_FAILED;
    stop_ranks(s, false);
}

/* ---- watching ---- */

static void end_rank(struct supervisor *s, struct rank *r) {
    child_reap(&r->child, &r->end);
    r->ended = true;
    r->end_order = ++s->ended;
    s->alive--;
}

/* Read every pipe, then reap who has ended. False where an event file failed. */
static bool poll_ranks_once(struct supervisor *s) {
    struct text why = {0};
    int64_t now = clocks_now_ms();
    for (int i = 0; i < s->count; i++) {
        struct rank *r = &s->ranks[i];
        struct pollfd p = {.fd = r->child.pidfd, .events = POLLIN};
        bool ends = r->started && !r->ended && poll(&p, 1, 0) == 1;
        // Ended first, read second: all it ever wrote is in the pipe by now.
        if (r->started && !rank_read(r, now, &why)) {
            if (s->reason.size == 0) {
                text_add(&s->reason, text_get(&why));
            }
            text_clear(&why);
        }
        if (ends) {
            end_rank(s, r);
            rank_close(r);
        }
    }
    text_finish(&why);
    return s->reason.size == 0;
}

static void judge_ranks(struct supervisor *s) {
    bool bad = false, complained = false;
    for (int i = 0; i < s->count; i++) {
        // Who blames another is believed for a while: a dying process closes what
        // its peers see before we see it dead.
        bad = bad || (verdict_rank_is_bad(&s->ranks[i]) && !s->ranks[i].blames);
        complained = complained || s->ranks[i].has_error;
    }
    if (s->stopping && s->kill_at_ms == CLOCKS_NEVER) {
        return;
    }
    if (bad && !s->stopping) {
        // stop_ranks() looks again first, so that the death of a peer which only
        // followed from another's is not taken for the cause.
        stop_ranks(s, false);
    } else if (complained && !s->stopping && s->kill_at_ms == CLOCKS_NEVER) {
        // It has said why it fails and is expected to leave by itself.
        s->kill_at_ms = clocks_now_ms() + GRACE_MS;
    }
}

/*
 * Since when a rank counts as silent. To say that it waits for another is as good as
 * any word while there is another; where all who run wait, for each other or for one
 * that has left, none of them will ever go on.
 */
static int64_t silent_since(const struct supervisor *s, const struct rank *r) {
    int64_t moved_ms = 0;
    for (int i = 0; i < s->count; i++) {
        const struct rank *other = &s->ranks[i];
        if (other->started && !other->ended) {
            if (!other->waiting) {
                return r->heard_ms;
            }
            moved_ms = other->moved_ms > moved_ms ? other->moved_ms : moved_ms;
        }
    }
    return moved_ms;
}

static void check_clocks(struct supervisor *s) {
    int64_t now = clocks_now_ms();
    if (now >= s->kill_at_ms) {
        stop_ranks(s, false);
        return;
    }
    if (s->stopping) {
        return;
    }
    struct rank *worst = NULL;
    enum clocks_strike strike = CLOCKS_NONE;
    for (int i = 0; i < s->count; i++) {
        struct rank *r = &s->ranks[i];
        enum clocks_strike one = r->ended ? CLOCKS_NONE
                                          : clocks_check(&s->clocks, r->stepping,
                                                    silent_since(s, r), now);
        if (one != CLOCKS_NONE && (!worst || verdict_is_likelier(r, worst))) {
            worst = r;
            strike = one;
        }
    }
    if (worst) {
        s->strike = strike;
        s->strike_rank = worst->number;
        // Who has been silent for so long will not answer a SIGTERM either. What only
        // runs out of time may: a profiler then writes what it has.
        stop_for(s, VERDICT_STOP_CLOCK, strike == CLOCKS_TIMEOUT);
    }
}

static void arm_timer(struct supervisor *s) {
    int64_t next = s->kill_at_ms;
    for (int i = 0; i < s->count && !s->stopping; i++) {
        const struct rank *r = &s->ranks[i];
        if (r->started && !r->ended) {
            int64_t one = clocks_next_ms(&s->clocks, r->stepping, silent_since(s, r));
            next = one < next ? one : next;
        }
    }
    struct itimerspec t = {0};
    if (next != CLOCKS_NEVER) {
        // A millisecond late rather than early: early would only wake us twice.
        next = next > 0 ? next + 1 : 1;
        t.it_value.tv_sec = next / 1000;
        t.it_value.tv_nsec = next % 1000 * 1000000;
    }
    timerfd_settime(s->timer_fd, TFD_TIMER_ABSTIME, &t, NULL);
}

static void take_signals(struct supervisor *s) {
    for (int n = signals_take(s->signal_fd); n > 0; n--) {
        bool again = s->stop == VERDICT_STOP_INTERRUPTED;
        stop_for(s, VERDICT_STOP_INTERRUPTED, !again);
    }
}

static void sleep_until_something(struct supervisor *s) {
    struct pollfd *p = s->polled;
    int n = 0;
    p[n++] = (struct pollfd){.fd = s->signal_fd, .events = POLLIN};
    p[n++] = (struct pollfd){.fd = s->timer_fd, .events = POLLIN};
    p[n++] = (struct pollfd){.fd = s->parent_fd, .events = POLLIN};
    for (int i = 0; i < s->count; i++) {
        const struct rank *r = &s->ranks[i];
        bool live = r->started && !r->ended;
        // poll() passes over negative descriptors.
        p[n++] = (struct pollfd){.fd = live ? r->child.pidfd : -1, .events = POLLIN};
        p[n++] = (struct pollfd){.fd = live ? r->pipe_fd : -1, .events = POLLIN};
    }
    while (poll(p, (nfds_t)n, -1) < 0 && errno == EINTR) {
    }
}

static void watch(struct supervisor *s) {
    uint64_t ticks;
    while (s->alive) {
        arm_timer(s);
        sleep_until_something(s);
        if (s->polled[1].revents) {
            ssize_t ignored = read(s->timer_fd, &ticks, sizeof ticks);
            (void)ignored;
        }
        if (!poll_ranks_once(s) && s->stop != VERDICT_STOP_FAILED) {
            s->stop = VERDICT_STOP_FAILED;
            stop_ranks(s, false);
        }
        judge_ranks(s);
        if (s->polled[0].revents) {
            take_signals(s);
        }
        if (s->polled[2].revents && s->stop != VERDICT_STOP_ORPHANED) {
            s->stop = s->stop == VERDICT_STOP_NONE ? VERDICT_STOP_ORPHANED : s->stop;
            close(s->parent_fd);
            s->parent_fd = -1;
            stop_ranks(s, false);
        }
        check_clocks(s);
    }
}

/* ---- one attempt ---- */

static void start_all(struct supervisor *s) {
    struct text why = {0};
    int opened = 0;
    bool ok = make_shared_memory(s, &why);
    while (ok && opened < s->count) {
        ok = rank_init(&s->ranks[opened], opened, s->folder, &why);
        opened += ok;
    }
    s->count = opened;
    for (int i = 0; ok && i < s->count; i++) {
        ok = start_rank(s, &s->ranks[i], &why);
    }
    if (!ok) {
        fail(s, &why);
    }
    text_finish(&why);
}

static bool write_record(struct supervisor *s, int leaked, bool oom_killed,
        int64_t started_unix_ms, struct text *err) {
    struct verdict_input in = {
            .ranks = s->ranks,
            .count = s->count,
            .stop = s->stop,
            .strike = s->strike,
            .strike_rank = s->strike_rank,
            .clocks = &s->clocks,
            .reason = text_get(&s->reason),
            .oom_killed = oom_killed,
    };
    struct verdict v = {0};
    verdict_reach(&in, &v);
    struct outcome o = {
            .folder = s->folder,
            .spec = &s->spec,
            .machine = &s->machine,
            .ranks = s->ranks,
            .count = s->count,
            .verdict = &v,
            .started_unix_ms = started_unix_ms,
            .began_ms = s->clocks.began_ms,
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
    if (!search_is_needed(&s->spec)) {
        return;
    }
    s->search = (struct search){.folder = s->folder,
            .spec = &s->spec,
            .owner = &s->owner,
            .machine = &s->machine,
            .gpus = &s->gpus,
            .signal_fd = s->signal_fd,
            .parent_fd = s->parent_fd};
    switch (search_run(&s->search, &why)) {
    case SEARCH_INTERRUPTED:
        s->stop = VERDICT_STOP_INTERRUPTED;
        break;
    case SEARCH_ORPHANED:
        s->stop = VERDICT_STOP_ORPHANED;
        break;
    case SEARCH_DONE:
        if (write_resolved(s, &why)) {
            break;
        }
        // fall through
    default:
        fail(s, &why);
    }
    text_finish(&why);
}

static bool run_attempt(struct supervisor *s, struct text *err) {
    int64_t started_unix_ms = machine_unix_ms();
    resolve_batch(s);
    s->memory_limit = params_integer(&s->spec.params, PARAM_MEMORY_LIMIT);
    s->count = (int)params_integer(&s->spec.params, PARAM_RANKS);
    s->ranks = text_allocate_zeroed((size_t)s->count, sizeof *s->ranks);
    s->polled = text_allocate_zeroed(WATCHED + 2 * (size_t)s->count, sizeof *s->polled);
    cgroup_create(&s->cgroup, s->owner.cgroup, s->memory_limit * s->count);
    s->oom_before = machine_oom_kills();
    clocks_init(&s->clocks, &s->spec.params);
    if (s->spec.profiler && *s->spec.profiler) {
        // It stops the world to replay a kernel, and writes its report in silence.
        s->clocks.start_ms = s->clocks.heartbeat_ms = 0;
    }
    if (s->stop == VERDICT_STOP_NONE) {
        start_all(s);
    } else {
        s->count = 0;
    }
    watch(s);
    bool oom_killed =
            cgroup_oom_kills(&s->cgroup) > 0 || machine_oom_kills() > s->oom_before;
    int leaked = family_kill_all(NULL, 0, SWEEP_MS);
    cgroup_destroy(&s->cgroup);
    return write_record(s, leaked, oom_killed, started_unix_ms, err);
}

static void close_fd(int fd) {
    if (fd >= 0) {
        close(fd);
    }
}

bool supervise_run(const char *folder, struct text *err) {
    struct supervisor s = {.folder = folder,
            .signal_fd = -1,
            .timer_fd = -1,
            .parent_fd = -1,
            .shm_fd = -1,
            .cgroup = {.folder_fd = -1},
            .kill_at_ms = CLOCKS_NEVER};
    struct text path = {0};
    path_of(&s, "spec.json", &path);
    machine_init(&s.machine);
    launch_told(&s.gpus);
    bool ok = spec_read(text_get(&path), &s.spec, err) && open_signals(&s, err) &&
              family_adopt_orphans(err) && register_owner(&s, err) &&
              run_attempt(&s, err);
    for (int i = 0; i < s.count && s.ranks; i++) {
        rank_finish(&s.ranks[i]);
    }
    free(s.ranks);
    free(s.polled);
    close_fd(s.signal_fd);
    close_fd(s.timer_fd);
    close_fd(s.parent_fd);
    close_fd(s.shm_fd);
    text_finish(&s.reason);
    text_finish(&s.spec_path);
    search_finish(&s.search);
    launch_gpus_finish(&s.gpus);
    spec_finish(&s.spec);
    owner_finish(&s.owner);
    machine_finish(&s.machine);
    text_finish(&path);
    return ok;
}

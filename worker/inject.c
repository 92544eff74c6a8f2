#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "worker/inject.h"
#include "worker/measure.h"

#define ORPHAN_S 3600          // bounds the harm where nobody cleans up
#define OOM_BYTES (256L << 20) // what a process without a limit of its own may take
#define OOM_PIECE (8L << 20)
#define OOM_DEVICE_PIECE (1L << 30)
#define NOBODYS 0x40000000 // an address where no device memory lies
#define STALL_NS 200000000

static bool strikes_here(const struct attempt *a, int64_t phase) {
    const struct params *p = &a->spec.params;
    return params_integer(p, PARAM_INJECT) != INJECT_NONE &&
           params_integer(p, PARAM_INJECT_RANK) == a->rank &&
           params_integer(p, PARAM_INJECT_PHASE) == phase;
}

bool inject_is_due(const struct attempt *a, int64_t step) {
    int64_t when = params_integer(&a->spec.params, PARAM_INJECT_STEP);
    return strikes_here(a, INJECT_PHASE_STEP) && step == (when > 0 ? when : 1);
}

bool inject_is_due_in(const struct attempt *a, const char *phase) {
    const struct params *p = &a->spec.params;
    int64_t when = params_integer(p, PARAM_INJECT_PHASE);
    return when != INJECT_PHASE_STEP && strikes_here(a, when) &&
           strcmp(params_choice(p, PARAM_INJECT_PHASE), phase) == 0;
}

bool inject_check(struct attempt *a, int64_t steps) {
    const struct params *p = &a->spec.params;
    if (params_integer(p, PARAM_INJECT) == INJECT_NONE) {
        return true;
    }
    int64_t rank = params_integer(p, PARAM_INJECT_RANK);
    int64_t step = params_integer(p, PARAM_INJECT_STEP);
    int64_t phase = params_integer(p, PARAM_INJECT_PHASE);
    if (rank >= a->world) {
        return attempt_fail(a, STATUS_FAILED, "inject_rank %lld: the ranks are 0 to %d",
                (long long)rank, a->world - 1);
    }
    if (params_integer(p, PARAM_INJECT) == INJECT_NAN && phase != INJECT_PHASE_STEP &&
            phase != INJECT_PHASE_EVAL) {
        return attempt_fail(a, STATUS_FAILED,
                "inject nan: no loss is looked at in phase %s, only in step and eval",
                params_choice(p, PARAM_INJECT_PHASE));
    }
    if (phase == INJECT_PHASE_STEP && step > steps) {
        return attempt_fail(a, STATUS_FAILED,
                "inject_step %lld is past the last step, %lld", (long long)step,
                (long long)steps);
    }
    return true;
}

/* A true fault: a write to a page that may not be written. */
static void segv(void) {
    signal(SIGSEGV, SIG_DFL); // sanitizers would make it an exit
    char *page = mmap(NULL, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    *(volatile char *)page = 1;
}

/* Signs of life without progress. */
static void stall(struct attempt *a) {
    for (;;) {
        attempt_send(a, "progress", "{s:s, s:I}", "phase", a->phase, "done",
                (json_int_t)a->step);
        nanosleep(&(struct timespec){0, STALL_NS}, NULL);
    }
}

static bool garbage(struct attempt *a) {
    static const char noise[] = "\x7f\x00 {\"event\": \"step\", \"t_ms\": oops\n";
    ssize_t written = write(a->events.fd, noise, sizeof noise - 1);
    return written > 0 ||
           attempt_fail(a, STATUS_FAILED, "cannot write garbage: %s", strerror(errno));
}

static bool orphan(struct attempt *a) {
    pid_t pid = fork();
    if (pid < 0) {
        return attempt_fail(
                a, STATUS_FAILED, "cannot leave an orphan: %s", strerror(errno));
    }
    if (pid == 0) {
        setsid();
        // A terminal's or pipe's reader must not wait for it, whoever ran this by hand.
        for (int fd = 0; fd < 3; fd++) {
            close(fd);
        }
        alarm(ORPHAN_S);
        for (;;) {
            pause();
        }
    }
    return true;
}

/*
 * Take memory until it is refused. Where nothing limits this process it limits itself
 * first, so that only it, never the machine, runs out.
 */
static bool oom_host(struct attempt *a) {
    struct rlimit limit;
    int64_t used = measure_data();
    if (used < 0 || getrlimit(RLIMIT_DATA, &limit) != 0) {
        return attempt_fail(
                a, STATUS_FAILED, "cannot tell how much memory this process may take");
    }
    rlim_t most = (rlim_t)(used + OOM_BYTES);
    if (limit.rlim_cur == RLIM_INFINITY || limit.rlim_cur > most) {
        limit.rlim_cur = most;
        if (setrlimit(RLIMIT_DATA, &limit) != 0) {
            return attempt_fail(a, STATUS_FAILED,
                    "cannot limit this process's memory: %s", strerror(errno));
        }
    }
    for (int64_t taken = 0; taken <= OOM_BYTES; taken += OOM_PIECE) {
        char *piece = mmap(NULL, OOM_PIECE, PROT_READ | PROT_WRITE,
                MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (piece == MAP_FAILED) {
            a->bytes_asked = OOM_PIECE;
            a->bytes_free = measure_limit_left();
            return attempt_fail(a, STATUS_OOM_HOST,
                    "no memory for %ld bytes more, after %lld taken on purpose",
                    OOM_PIECE, (long long)taken);
        }
        for (long i = 0; i < OOM_PIECE; i += 4096) {
            ((volatile char *)piece)[i] = 1;
        }
    }
    return attempt_fail(a, STATUS_FAILED, "this machine does not enforce RLIMIT_DATA");
}

static bool has_device(struct attempt *a, const struct inject_device *d) {
    return (d->kernels && d->kernels->device_memory) ||
           attempt_fail(a, STATUS_UNSUPPORTED,
                   "inject %s: a CPU has no device of its own",
                   params_choice(&a->spec.params, PARAM_INJECT));
}

/* Take the device's memory until it is refused; the end of the process gives it back.
 */
static bool oom_device(struct attempt *a, const struct inject_device *d) {
    struct kernel_error why = {0};
    struct text err = {0};
    void *piece;
    while (d->kernels->allocate(
            d->index, MEMORY_DEVICE, OOM_DEVICE_PIECE, &piece, &why)) {
    }
    return attempt_fail_kernel(a, &why, &err);
}

/* A kernel that writes where no memory is. */
static bool device_fault(struct attempt *a, const struct inject_device *d) {
    struct tensor wild = {
            .data = (void *)NOBODYS, .type = DTYPE_F32, .rank = 1, .size = {4096}};
    struct kernel_error why = {0};
    struct text err = {0};
    return d->kernels->gelu_forward(d->stream, &wild, &wild, &why) ||
           attempt_fail_kernel(a, &why, &err);
}

bool inject_strike(struct attempt *a, const struct inject_device *device) {
    switch (params_integer(&a->spec.params, PARAM_INJECT)) {
    case INJECT_SEGV:
        segv();
        break;
    case INJECT_ABORT:
        signal(SIGABRT, SIG_DFL);
        abort();
    case INJECT_EXIT:
        _exit(3);
    case INJECT_HANG:
        for (;;) {
            pause();
        }
    case INJECT_STALL:
        stall(a);
        break;
    case INJECT_OOM_HOST:
        return oom_host(a);
    case INJECT_OOM_DEVICE:
        return has_device(a, device) && oom_device(a, device);
    case INJECT_DEVICE_FAULT:
        return has_device(a, device) && device_fault(a, device);
    case INJECT_GARBAGE:
        return garbage(a);
    case INJECT_ORPHAN:
        return orphan(a);
    default:
        break;
    }
    return true;
}

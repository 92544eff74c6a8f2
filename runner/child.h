/*
 * A child process of the runner: a cell's supervisor, or a supervisor's rank. It has a
 * session of its own, dies with its parent, and inherits no descriptor but those named.
 *
 * Life: fill a child_spec, child_start(), wait until `pidfd` polls readable,
 * child_reap(). In between child_signal() may be called at any time: the process is not
 * reaped elsewhere, so its id cannot have become another's.
 */
#ifndef RUNNER_CHILD_H
#define RUNNER_CHILD_H

#include <sched.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "matrix/text.h"

#define CHILD_KEEP_MAX 4

struct child_spec {
    char *const *argv; /* argv[0] is a path, or a name looked up in PATH */
    char *const *envp;
    int stdin_fd, stdout_fd, stderr_fd; /* -1: /dev/null; kept by the caller */
    int keep_fds[CHILD_KEEP_MAX]; /* stay open under the same number; the caller's */
    int keep_count;
    int cgroup_fd;            /* an open cgroup2 folder to start in, or -1 */
    int64_t data_limit_bytes; /* RLIMIT_DATA; 0: as the parent's */
    const cpu_set_t *cpus;    /* where it may run; NULL: as the parent */
};

struct child {
    pid_t pid; /* 0 where nothing runs */
    int pidfd; /* polls readable once the process has ended; owned */
};

/* How a process ended: it exited (code ≥ 0, signal 0) or a signal ended it. */
struct child_end {
    int exit_code; /* -1 where it did not exit by itself */
    int signal;    /* 0 where none ended it */
    int64_t max_rss_bytes, user_ms, system_ms;
};

/*
 * Start the process; the caller keeps `spec` and may free it once this returns. True
 * only once the program runs: a failing exec is a failure here, with its reason. On
 * failure nothing runs and `c` owns nothing.
 *
 * The child's parent-death signal is SIGKILL and follows the calling *thread*: call
 * this from a thread that lives as long as the process.
 */
bool child_start(struct child *c, const struct child_spec *spec, struct text *err);

/* Collect a child that has ended and close its pidfd; waits where it has not yet. */
void child_reap(struct child *c, struct child_end *end);

/* Send `signal`; a child that has ended already is fine. */
void child_signal(const struct child *c, int signal);

/*
 * Kill it, where it has not ended yet, and what it started and left in its process
 * group. To be called before child_reap(), after which the group's id may be another's.
 */
void child_kill_group(const struct child *c);

/*
 * A copy of this process's environment with `extra` (NULL-terminated "NAME=value"
 * strings) replacing equal names. The caller owes child_free_environment().
 */
char **child_make_environment(char *const *extra);
void child_free_environment(char **environment);

#endif

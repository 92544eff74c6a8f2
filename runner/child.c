#include "runner/child.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#ifndef CLOSE_RANGE_CLOEXEC
#define CLOSE_RANGE_CLOEXEC (1U << 2)
#endif

extern char **environ;

/* What the child reports through the close-on-exec pipe when it cannot start. */
struct failure {
    int error;
    char step[28];
};

static _Noreturn void give_up(int fd, const char *step) {
    struct failure f = {.error = errno};
    memcpy(f.step, step, strnlen(step, sizeof f.step - 1));
    ssize_t ignored = write(fd, &f, sizeof f);
    (void)ignored;
    _exit(127);
}

static bool place(int fd, int target) {
    if (fd < 0) {
        fd = open("/dev/null", target == STDIN_FILENO ? O_RDONLY : O_WRONLY);
        if (fd < 0) {
            return false;
        }
    }
    if (fd == target) {
        return fcntl(fd, F_SETFD, 0) == 0;
    }
    return dup2(fd, target) == target;
}

static bool reset_signals(void) {
    struct sigaction fallback = {.sa_handler = SIG_DFL};
    for (int s = 1; s < NSIG; s++) {
        // Fails for SIGKILL, SIGSTOP and libc's own: none of them can be ignored.
        sigaction(s, &fallback, NULL);
    }
    sigset_t none;
    sigemptyset(&none);
    return sigprocmask(SIG_SETMASK, &none, NULL) == 0;
}

static bool limit_data(int64_t bytes) {
    struct rlimit limit;
    if (bytes <= 0) {
        return true;
    }
    if (getrlimit(RLIMIT_DATA, &limit)) {
        return false;
    }
    limit.rlim_cur = (rlim_t)bytes;
    if (limit.rlim_max != RLIM_INFINITY && limit.rlim_cur > limit.rlim_max) {
        limit.rlim_cur = limit.rlim_max;
    }
    limit.rlim_max = limit.rlim_cur;
    return setrlimit(RLIMIT_DATA, &limit) == 0;
}

static bool join_cgroup(int folder_fd) {
    int fd = openat(folder_fd, "cgroup.procs", O_WRONLY | O_CLOEXEC);
    return fd >= 0 && write(fd, "0", 1) == 1;
}

/*
 * Fork, straight into the cgroup where the kernel can (5.7): moving a process there
 * afterwards waits for a grace period of the whole machine, some 10 ms.
 */
static pid_t fork_into(int cgroup_fd, bool *joined) {
    *joined = false;
    if (cgroup_fd >= 0) {
        struct clone_args args = {.flags = CLONE_INTO_CGROUP,
                .exit_signal = SIGCHLD,
                .cgroup = (uint64_t)cgroup_fd};
        pid_t pid = (pid_t)syscall(SYS_clone3, &args, sizeof args);
        *joined = pid >= 0;
        if (pid >= 0) {
            return pid;
        }
    }
    return fork();
}

static _Noreturn void become(
        const struct child_spec *spec, int report_fd, pid_t parent, bool join) {
    // The three standard places are about to be overwritten: move the pipe off them.
    int fd = fcntl(report_fd, F_DUPFD_CLOEXEC, 10);
    if (fd < 0) {
        give_up(report_fd, "duplicate a descriptor");
    }
    if (prctl(PR_SET_PDEATHSIG, SIGKILL)) {
        give_up(fd, "set the parent-death signal");
    }
    // The parent may have died before the line above took effect.
    if (getppid() != parent) {
        _exit(127);
    }
    if (setsid() < 0) {
        give_up(fd, "start a session");
    }
    if (join && !join_cgroup(spec->cgroup_fd)) {
        give_up(fd, "join the cgroup");
    }
    if (!place(spec->stdin_fd, STDIN_FILENO) ||
            !place(spec->stdout_fd, STDOUT_FILENO) ||
            !place(spec->stderr_fd, STDERR_FILENO)) {
        give_up(fd, "set up standard streams");
    }
    // Where close_range is missing, ours are close-on-exec anyway.
    syscall(SYS_close_range, 3U, ~0U, CLOSE_RANGE_CLOEXEC);
    for (int i = 0; i < spec->keep_count; i++) {
        if (fcntl(spec->keep_fds[i], F_SETFD, 0)) {
            give_up(fd, "keep a descriptor");
        }
    }
    if (!limit_data(spec->data_limit_bytes)) {
        give_up(fd, "limit its memory");
    }
    if (spec->cpus && sched_setaffinity(0, sizeof *spec->cpus, spec->cpus)) {
        give_up(fd, "choose its CPUs");
    }
    if (!reset_signals()) {
        give_up(fd, "reset signals");
    }
    execvpe(spec->argv[0], spec->argv, spec->envp);
    give_up(fd, "");
}

bool child_start(struct child *c, const struct child_spec *spec, struct text *err) {
    int report[2];
    *c = (struct child){.pidfd = -1};
    if (pipe2(report, O_CLOEXEC)) {
        return text_fail(err, "cannot start '%s': %s", spec->argv[0], strerror(errno));
    }
    pid_t parent = getpid();
    bool joined;
    pid_t pid = fork_into(spec->cgroup_fd, &joined);
    if (pid == 0) {
        become(spec, report[1], parent, spec->cgroup_fd >= 0 && !joined);
    }
    int fork_error = errno;
    close(report[1]);
    if (pid < 0) {
        close(report[0]);
        return text_fail(
                err, "cannot start '%s': %s", spec->argv[0], strerror(fork_error));
    }
    struct failure f = {0};
    ssize_t n;
    do {
        n = read(report[0], &f, sizeof f);
    } while (n < 0 && errno == EINTR);
    close(report[0]);
    c->pid = pid;
    if (n == sizeof f) {
        waitpid(pid, NULL, 0);
        c->pid = 0;
        if (f.step[0]) {
            return text_fail(err, "cannot start '%s': cannot %s: %s", spec->argv[0],
                    f.step, strerror(f.error));
        }
        return text_fail(
                err, "cannot start '%s': %s", spec->argv[0], strerror(f.error));
    }
    c->pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
    if (c->pidfd < 0) {
        int error = errno;
        kill(pid, SIGKILL);
        waitpid(pid, NULL, 0);
        c->pid = 0;
        return text_fail(err, "cannot watch '%s': %s", spec->argv[0], strerror(error));
    }
    fcntl(c->pidfd, F_SETFD, FD_CLOEXEC);
    return true;
}

static int64_t milliseconds(struct timeval t) {
    return (int64_t)t.tv_sec * 1000 + t.tv_usec / 1000;
}

void child_reap(struct child *c, struct child_end *end) {
    int status = 0;
    struct rusage usage = {0};
    pid_t got;
    do {
        got = wait4(c->pid, &status, 0, &usage);
    } while (got < 0 && errno == EINTR);
    *end = (struct child_end){.exit_code = -1};
    if (got == c->pid) {
        end->exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
        end->signal = WIFSIGNALED(status) ? WTERMSIG(status) : 0;
        end->max_rss_bytes = (int64_t)usage.ru_maxrss * 1024;
        end->user_ms = milliseconds(usage.ru_utime);
        end->system_ms = milliseconds(usage.ru_stime);
    }
    close(c->pidfd);
    *c = (struct child){.pidfd = -1};
}

void child_signal(const struct child *c, int signal) {
    if (c->pid > 0) {
        kill(c->pid, signal);
    }
}

void child_kill_group(const struct child *c) {
    if (c->pid > 0) {
        kill(-c->pid, SIGKILL);
    }
}

static bool same_name(const char *a, const char *b) {
    size_t n = strcspn(a, "=");
    return strncmp(a, b, n) == 0 && b[n] == '=';
}

char **child_make_environment(char *const *extra) {
    size_t have = 0, more = 0, n = 0;
    while (environ && environ[have]) {
        have++;
    }
    while (extra[more]) {
        more++;
    }
    char **out = text_allocate_zeroed(have + more + 1, sizeof *out);
    for (size_t i = 0; i < have; i++) {
        bool replaced = false;
        for (size_t j = 0; j < more && !replaced; j++) {
            replaced = same_name(extra[j], environ[i]);
        }
        if (!replaced) {
            out[n++] = text_copy(environ[i]);
        }
    }
    for (size_t j = 0; j < more; j++) {
        out[n++] = text_copy(extra[j]);
    }
    return out;
}

void child_free_environment(char **environment) {
    for (char **e = environment; e && *e; e++) {
        free(*e);
    }
    free(environment);
}

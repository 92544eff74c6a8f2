#include "runner/filter.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "matrix/spec.h"
#include "runner/child.h"

json_t *filter_spec(const struct cell *cell, char **worker) {
    struct spec s = {.matrix = (char *)cell->matrix,
            .cell = (char *)cell->id,
            .attempt = 1,
            .expect = cell->expect,
            .worker = worker,
            .params = cell->params};
    memcpy(s.hash, cell->hash, sizeof s.hash);
    return spec_to_json(&s);
}

static bool write_all(int fd, const char *bytes, size_t size) {
    while (size) {
        ssize_t n = write(fd, bytes, size);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0) {
            return false;
        }
        bytes += n;
        size -= (size_t)n;
    }
    return true;
}

static bool complain(char *const *argv, const struct child_end *end, struct text *err) {
    text_add(err, "'");
    for (int i = 0; argv[i]; i++) {
        text_addf(err, "%s%s", i ? " " : "", argv[i]);
    }
    text_addf(err, "' ended with %s %d", end->signal ? "signal" : "code",
            end->signal ? end->signal : end->exit_code);
    return false;
}

static void end_in_time(struct child *c, int limit_ms, struct child_end *end) {
    struct pollfd p = {.fd = c->pidfd, .events = POLLIN};
    if (limit_ms >= 0 && poll(&p, 1, limit_ms) == 0) {
        child_kill_group(c);
    }
    child_reap(c, end);
}

bool filter_run(char *const *argv, const struct text *in, struct text *out,
        int limit_ms, struct text *err) {
    // Files rather than pipes: neither side can wait for the other.
    int fds[2] = {
            memfd_create("specs", MFD_CLOEXEC), memfd_create("answers", MFD_CLOEXEC)};
    bool ok = fds[0] >= 0 && fds[1] >= 0 && write_all(fds[0], text_get(in), in->size) &&
              lseek(fds[0], 0, SEEK_SET) == 0;
    if (!ok) {
        text_fail(err, "cannot ask '%s': %s", argv[0], strerror(errno));
    }
    char *none[] = {NULL};
    char **environment = child_make_environment(none);
    struct child_spec spec = {.argv = argv,
            .envp = environment,
            .stdin_fd = fds[0],
            .stdout_fd = fds[1],
            .stderr_fd = STDERR_FILENO,
            .cgroup_fd = -1};
    struct child c;
    struct child_end end;
    ok = ok && child_start(&c, &spec, err);
    if (ok) {
        end_in_time(&c, limit_ms, &end);
        if (end.exit_code != 0) {
            ok = complain(argv, &end, err);
        }
    }
    char bytes[65536];
    off_t at = 0;
    ssize_t n;
    while (ok && (n = pread(fds[1], bytes, sizeof bytes, at)) > 0) {
        text_add_bytes(out, bytes, (size_t)n);
        at += n;
    }
    child_free_environment(environment);
    for (int i = 0; i < 2; i++) {
        if (fds[i] >= 0) {
            close(fds[i]);
        }
    }
    return ok;
}

#include "runner/output.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define MAX_BYTES ((off_t)OUTPUT_MAX_MIB << 20)

static int create(const char *folder, int rank, const char *kind, struct text *err) {
    struct text path = {0};
    text_addf(&path, "%s/rank%d.%s", folder, rank, kind);
    // Appending, so that a file that is cut does not grow back to where its writer was.
    int fd = open(
            text_get(&path), O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC, 0644);
    if (fd < 0) {
        text_fail(err, "cannot create '%s': %s", text_get(&path), strerror(errno));
    }
    text_finish(&path);
    return fd;
}

bool output_open(struct output *o, const char *folder, int rank, struct text *err) {
    *o = (struct output)OUTPUT_NONE;
    o->stdout_fd = create(folder, rank, "stdout", err);
    if (o->stdout_fd < 0) {
        return false;
    }
    o->stderr_fd = create(folder, rank, "stderr", err);
    if (o->stderr_fd < 0) {
        output_finish(o);
        return false;
    }
    return true;
}

void output_finish(struct output *o) {
    int fds[] = {o->stdout_fd, o->stderr_fd};
    for (int i = 0; i < 2; i++) {
        if (fds[i] >= 0) {
            close(fds[i]);
        }
    }
    *o = (struct output)OUTPUT_NONE;
}

static bool is_too_large(int fd) {
    struct stat st;
    return fd >= 0 && fstat(fd, &st) == 0 && st.st_size > MAX_BYTES;
}

bool output_overflows(const struct output *o, struct text *what) {
    const char *stream = is_too_large(o->stdout_fd)   ? "output"
                         : is_too_large(o->stderr_fd) ? "error"
                                                      : NULL;
    if (stream) {
        text_addf(what, "wrote more than %d MiB to its standard %s", OUTPUT_MAX_MIB,
                stream);
    }
    return stream != NULL;
}

void output_cut(const struct output *o) {
    int fds[] = {o->stdout_fd, o->stderr_fd};
    for (int i = 0; i < 2; i++) {
        if (is_too_large(fds[i])) {
            int ignored = ftruncate(fds[i], MAX_BYTES);
            (void)ignored;
        }
    }
}

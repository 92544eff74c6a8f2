#include "matrix/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

bool file_read(const char *path, size_t max_bytes, struct text *out, struct text *err) {
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) {
        return text_fail(err, "cannot open '%s': %s", path, strerror(errno));
    }
    size_t before = out->size;
    bool ok = false;
    struct stat st;
    if (fstat(fd, &st) || !S_ISREG(st.st_mode)) {
        text_fail(err, "cannot read '%s': not a regular file", path);
        goto done;
    }
    for (;;) {
        char buffer[65536];
        ssize_t n = read(fd, buffer, sizeof buffer);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0) {
            text_fail(err, "cannot read '%s': %s", path, strerror(errno));
            goto done;
        }
        if (n == 0) {
            break;
        }
        if (out->size - before + (size_t)n > max_bytes) {
            text_fail(err, "cannot read '%s': larger than %zu bytes", path, max_bytes);
            goto done;
        }
        text_add_bytes(out, buffer, (size_t)n);
    }
    ok = true;
done:
    if (!ok && out->data) {
        out->size = before;
        out->data[before] = '\0';
    }
    close(fd);
    return ok;
}

static bool write_all(int fd, const char *data, size_t size) {
    while (size) {
        ssize_t n = write(fd, data, size);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0) {
            return false;
        }
        data += n;
        size -= (size_t)n;
    }
    return true;
}

static bool sync_folder_of(const char *path) {
    char *folder = text_copy(path);
    char *slash = strrchr(folder, '/');
    if (slash) {
        slash[slash == folder] = '\0';
    }
    int fd = open(slash ? folder : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    free(folder);
    if (fd < 0) {
        return false;
    }
    // Some network file systems cannot sync a folder; the rename is then all there is.
    bool ok = fsync(fd) == 0 || errno == EINVAL || errno == ENOTSUP;
    close(fd);
    return ok;
}

static bool replace(const char *path, const void *data, size_t size, bool durable,
        struct text *err) {
    struct text temporary = {0};
    text_addf(&temporary, "%s.tmp.%ld", path, (long)getpid());
    const char *name = text_get(&temporary);
    bool created = false;
    int fd = open(name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    bool ok = fd >= 0;
    created = ok;
    ok = ok && write_all(fd, data, size);
    ok = ok && (!durable || fsync(fd) == 0);
    int failure = errno;
    if (fd >= 0 && close(fd) && ok) {
        ok = false;
        failure = errno;
    }
    if (ok && rename(name, path)) {
        ok = false;
        failure = errno;
    }
    if (!ok && created) {
        unlink(name);
    }
    if (ok && durable && !sync_folder_of(path)) {
        ok = false;
        failure = errno;
    }
    if (!ok) {
        text_fail(err, "cannot write '%s': %s", path, strerror(failure));
    }
    text_finish(&temporary);
    return ok;
}

bool file_write(const char *path, const void *data, size_t size, struct text *err) {
    return replace(path, data, size, true, err);
}

bool file_write_quick(
        const char *path, const void *data, size_t size, struct text *err) {
    return replace(path, data, size, false, err);
}

bool file_make_folders(const char *path, struct text *err) {
    char *copy = text_copy(path);
    bool ok = true;
    for (char *p = copy + 1; ok; p++) {
        if (*p && *p != '/') {
            continue;
        }
        char saved = *p;
        *p = '\0';
        struct stat st;
        if (mkdir(copy, 0777)) {
            int failure = errno; // stat()'s own would hide why
            ok = (stat(copy, &st) == 0 && S_ISDIR(st.st_mode)) ||
                 text_fail(err, "cannot make folder '%s': %s", copy, strerror(failure));
        }
        *p = saved;
        if (!saved) {
            break;
        }
    }
    free(copy);
    return ok;
}

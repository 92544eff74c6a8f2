#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "worker/measure.h"

/* The start of a small file of /proc or a cgroup, NUL-terminated; "" on failure. */
static void slurp(const char *path, char *out, size_t size) {
    size_t used = 0;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd >= 0) {
        ssize_t got;
        while (used < size - 1 && (got = read(fd, out + used, size - 1 - used)) > 0) {
            used += (size_t)got;
        }
        close(fd);
    }
    out[used] = '\0';
}

/* "Name:  123 kB" on a line of its own, in bytes. */
static int64_t field(const char *path, const char *name) {
    char text[8192];
    slurp(path, text, sizeof text);
    size_t length = strlen(name);
    for (const char *line = text; line; line = strchr(line, '\n')) {
        line += *line == '\n';
        if (strncmp(line, name, length) == 0 && line[length] == ':') {
            return strtoll(line + length + 1, NULL, 10) * 1024;
        }
    }
    return -1;
}

int64_t measure_resident(void) {
    return field("/proc/self/status", "VmRSS");
}

int64_t measure_resident_peak(void) {
    return field("/proc/self/status", "VmHWM");
}

int64_t measure_data(void) {
    return field("/proc/self/status", "VmData");
}

static int64_t number_in(const char *path) {
    char text[64];
    slurp(path, text, sizeof text);
    char *end;
    long long value = strtoll(text, &end, 10); // "max" is no number
    return end == text ? -1 : value;
}

static int64_t least(int64_t a, int64_t b) {
    return b >= 0 && b < a ? b : a;
}

/* What one cgroup and those above it leave, by the names of its version's files. */
static int64_t cgroup_left(
        const char *mount, char *path, const char *limit, const char *usage) {
    int64_t left = INT64_MAX;
    for (;;) {
        char file[4400];
        snprintf(file, sizeof file, "%s%s/%s", mount, path, limit);
        int64_t most = number_in(file);
        if (most >= 0) {
            snprintf(file, sizeof file, "%s%s/%s", mount, path, usage);
            int64_t used = number_in(file);
            left = least(left, used >= 0 && used < most ? most - used : 0);
        }
        char *slash = strrchr(path, '/');
        if (!slash) {
            return left;
        }
        *slash = '\0';
    }
}

static int64_t cgroups_left(void) {
    char text[8192];
    slurp("/proc/self/cgroup", text, sizeof text);
    int64_t left = INT64_MAX;
    char *rest = text, *line;
    while ((line = strsep(&rest, "\n"))) {
        char *names = strchr(line, ':');
        char *path = names ? strchr(names + 1, ':') : NULL;
        if (!path || strlen(path) > 4000) {
            continue;
        }
        *path++ = '\0';
        names++;
        if (strcmp(path, "/") == 0) {
            *path = '\0';
        }
        if (strcmp(names, "memory") == 0) {
            left = least(
                    left, cgroup_left("/sys/fs/cgroup/memory", path,
                                  "memory.limit_in_bytes", "memory.usage_in_bytes"));
        } else if (*names == '\0') {
            char again[4096];
            snprintf(again, sizeof again, "%s", path);
            left = least(left, cgroup_left("/sys/fs/cgroup", path, "memory.max",
                                       "memory.current"));
            left = least(left, cgroup_left("/sys/fs/cgroup/unified", again,
                                       "memory.max", "memory.current"));
        }
    }
    return left;
}

int64_t measure_host_free(void) {
    int64_t left = least(INT64_MAX, field("/proc/meminfo", "MemAvailable"));
    return least(left, cgroups_left());
}

int64_t measure_limit_left(void) {
    struct rlimit limit;
    if (getrlimit(RLIMIT_DATA, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY) {
        return INT64_MAX;
    }
    int64_t used = measure_data(), most = (int64_t)limit.rlim_cur;
    return used < most ? most - used : 0;
}

#include "runner/cgroup.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/magic.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "matrix/file.h"
#include "runner/clocks.h"

#define LEAF_PREFIX "lm-matrix-"
#define EMPTY_WAIT_MS 5000

/* The mount point and root of the first cgroup2 in mountinfo. */
static bool find_mount(char **point, char **root) {
    FILE *f = fopen("/proc/self/mountinfo", "re");
    char *line = NULL;
    size_t capacity = 0;
    bool found = false;
    while (f && !found && getline(&line, &capacity, f) > 0) {
        char *dash = strstr(line, " - ");
        if (!dash || strncmp(dash + 3, "cgroup2 ", 8)) {
            continue;
        }
        // Fields: id parent major:minor root point options…
        char r[4096], p[4096];
        found = sscanf(line, "%*s %*s %*s %4095s %4095s", r, p) == 2;
        if (found) {
            *root = text_copy(r);
            *point = text_copy(p);
        }
    }
    free(line);
    if (f) {
        fclose(f);
    }
    return found;
}

/* This process's path in the cgroup2 hierarchy: the line "0::/path". */
static char *own_path(void) {
    FILE *f = fopen("/proc/self/cgroup", "re");
    char *line = NULL, *path = NULL;
    size_t capacity = 0;
    while (f && !path && getline(&line, &capacity, f) > 0) {
        if (strncmp(line, "0::", 3) == 0) {
            line[strcspn(line, "\n")] = '\0';
            path = text_copy(line + 3);
        }
    }
    free(line);
    if (f) {
        fclose(f);
    }
    return path;
}

/* The folder of this process's own cgroup, or NULL. */
static char *own_folder(void) {
    char *point = NULL, *root = NULL, *path = NULL, *folder = NULL;
    if (find_mount(&point, &root) && (path = own_path())) {
        const char *below = path;
        size_t n = strlen(root);
        if (n > 1 && strncmp(path, root, n) == 0) {
            below = path + n;
        }
        struct text t = {0};
        text_addf(&t, "%s%s", point, strcmp(below, "/") ? below : "");
        folder = text_take(&t);
        struct statfs fs;
        if (statfs(folder, &fs) || fs.f_type != CGROUP2_SUPER_MAGIC) {
            free(folder);
            folder = NULL;
        }
    }
    free(point);
    free(root);
    free(path);
    return folder;
}

static int open_below(const char *folder, const char *name, int flags) {
    struct text t = {0};
    text_addf(&t, "%s/%s", folder, name);
    int fd = open(text_get(&t), flags | O_CLOEXEC);
    text_finish(&t);
    return fd;
}

static bool put(const char *folder, const char *name, const char *value) {
    int fd = open_below(folder, name, O_WRONLY);
    bool ok = fd >= 0 && write(fd, value, strlen(value)) == (ssize_t)strlen(value);
    if (fd >= 0) {
        close(fd);
    }
    return ok;
}

/* The number after `key` in a "key value" file; 0 where unknown. */
static int64_t keyed(const char *folder, const char *name, const char *key) {
    char bytes[1024];
    int fd = open_below(folder, name, O_RDONLY);
    ssize_t n = fd >= 0 ? read(fd, bytes, sizeof bytes - 1) : -1;
    if (fd >= 0) {
        close(fd);
    }
    if (n <= 0) {
        return 0;
    }
    bytes[n] = '\0';
    size_t length = strlen(key);
    for (char *line = bytes; line; line = strchr(line, '\n')) {
        line += *line == '\n';
        if (strncmp(line, key, length) == 0 && line[length] == ' ') {
            return strtoll(line + length, NULL, 10);
        }
        if (!*line) {
            break;
        }
    }
    return 0;
}

char *cgroup_leaf(const char *nonce) {
    char *folder = own_folder();
    if (!folder) {
        return NULL;
    }
    struct text path = {0};
    text_addf(&path, "%s%s" LEAF_PREFIX "%s", folder,
            folder[strlen(folder) - 1] == '/' ? "" : "/", nonce);
    free(folder);
    return text_take(&path);
}

bool cgroup_create(struct cgroup *c, const char *path, int64_t memory_bytes) {
    *c = (struct cgroup){.folder_fd = -1};
    if (!path || mkdir(path, 0755)) {
        return false;
    }
    c->path = text_copy(path);
    c->folder_fd = open(c->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (c->folder_fd < 0) {
        cgroup_destroy(c);
        return false;
    }
    if (memory_bytes > 0) {
        char number[32];
        snprintf(number, sizeof number, "%" PRId64, memory_bytes);
        c->memory_limit = put(c->path, "memory.max", number);
        put(c->path, "memory.swap.max", "0");
    }
    return true;
}

int64_t cgroup_oom_kills(const struct cgroup *c) {
    return c->path ? keyed(c->path, "memory.events", "oom_kill") : 0;
}

void cgroup_destroy_path(const char *path) {
    const char *name = strrchr(path, '/');
    struct statfs fs;
    if (!name || strncmp(name + 1, LEAF_PREFIX, strlen(LEAF_PREFIX)) ||
            statfs(path, &fs) || fs.f_type != CGROUP2_SUPER_MAGIC) {
        return;
    }
    int64_t deadline = clocks_now_ms() + EMPTY_WAIT_MS;
    put(path, "cgroup.kill", "1");
    // Killed processes leave the leaf in their own time; cgroup.events tells.
    while (rmdir(path) && errno == EBUSY) {
        int fd = open_below(path, "cgroup.events", O_RDONLY);
        int64_t left = deadline - clocks_now_ms();
        if (fd < 0 || left <= 0) {
            if (fd >= 0) {
                close(fd);
            }
            return;
        }
        char bytes[256];
        ssize_t n = read(fd, bytes, sizeof bytes - 1);
        bool populated = n > 0 && (bytes[n] = '\0', strstr(bytes, "populated 1"));
        struct pollfd p = {.fd = fd, .events = POLLPRI};
        poll(&p, 1, populated ? (int)left : 1);
        close(fd);
    }
}

void cgroup_destroy(struct cgroup *c) {
    if (c->folder_fd >= 0) {
        close(c->folder_fd);
    }
    if (c->path) {
        cgroup_destroy_path(c->path);
    }
    free(c->path);
    *c = (struct cgroup){.folder_fd = -1};
}

#include "runner/family.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "runner/clocks.h"

struct pids {
    pid_t *items;
    size_t count, capacity;
};

static void pids_add(struct pids *p, pid_t pid) {
    if (p->count == p->capacity) {
        p->capacity = p->capacity ? p->capacity * 2 : 16;
        p->items = text_reallocate(p->items, p->capacity * sizeof *p->items);
    }
    p->items[p->count++] = pid;
}

bool family_adopt_orphans(struct text *err) {
    if (prctl(PR_SET_CHILD_SUBREAPER, 1)) {
        return text_fail(err, "cannot become a subreaper: %s", strerror(errno));
    }
    return true;
}

/* The fields of /proc/PID/stat after the name, which may itself hold ") ". */
static bool read_stat(pid_t pid, char *state, int64_t *ticks) {
    char path[64], bytes[1024];
    snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return false;
    }
    ssize_t n = read(fd, bytes, sizeof bytes - 1);
    close(fd);
    if (n <= 0) {
        return false;
    }
    bytes[n] = '\0';
    char *p = strrchr(bytes, ')');
    if (!p || p[1] != ' ') {
        return false;
    }
    *state = p[2];
    p += 2;
    // State is field 3, the start time field 22.
    for (int field = 3; field < 22 && p; field++) {
        p = strchr(p + 1, ' ');
    }
    if (!p) {
        return false;
    }
    *ticks = strtoll(p + 1, NULL, 10);
    return true;
}

static bool dead(char state) {
    return state == 'Z' || state == 'X';
}

bool family_start_time(pid_t pid, int64_t *ticks) {
    char state;
    return pid > 0 && read_stat(pid, &state, ticks) && !dead(state);
}

static void add_children(pid_t pid, struct pids *out) {
    char path[320];
    snprintf(path, sizeof path, "/proc/%d/task", (int)pid);
    DIR *d = opendir(path);
    for (struct dirent *e; d && (e = readdir(d));) {
        if (!isdigit((unsigned char)e->d_name[0])) {
            continue;
        }
        snprintf(path, sizeof path, "/proc/%d/task/%s/children", (int)pid, e->d_name);
        FILE *f = fopen(path, "re");
        int child;
        while (f && fscanf(f, "%d", &child) == 1) {
            pids_add(out, (pid_t)child);
        }
        if (f) {
            fclose(f);
        }
    }
    if (d) {
        closedir(d);
    }
}

static bool among(pid_t pid, const pid_t *list, int count) {
    for (int i = 0; i < count; i++) {
        if (list[i] == pid) {
            return true;
        }
    }
    return false;
}

/* All descendants, parents before children; those of `spare` are left out whole. */
static void descendants(struct pids *out, const pid_t *spare, int spare_count) {
    add_children(getpid(), out);
    for (size_t i = 0; i < out->count;) {
        if (among(out->items[i], spare, spare_count)) {
            out->items[i] = out->items[--out->count];
            continue;
        }
        add_children(out->items[i], out);
        i++;
    }
}

/* Reap dead children other than the spared, whose end somebody else waits for. */
static void reap(const struct pids *family) {
    for (size_t i = 0; i < family->count; i++) {
        // ECHILD for what is not our own child: its parent, dying too, leaves it to us.
        waitpid(family->items[i], NULL, WNOHANG);
    }
}

int family_kill_all(const pid_t *spare, int spare_count, int64_t limit_ms) {
    int64_t deadline = clocks_now_ms() + limit_ms;
    struct pids killed = {0};
    int count = 0;
    int pause_ms = 1;
    for (;;) {
        struct pids family = {0};
        descendants(&family, spare, spare_count);
        for (size_t i = 0; i < family.count; i++) {
            char state;
            int64_t ticks;
            pid_t pid = family.items[i];
            if (!read_stat(pid, &state, &ticks) || dead(state)) {
                continue;
            }
            kill(pid, SIGKILL);
            if (!among(pid, killed.items, (int)killed.count)) {
                pids_add(&killed, pid);
                count++;
            }
        }
        reap(&family);
        bool none = family.count == 0;
        free(family.items);
        if (none || clocks_now_ms() >= deadline) {
            break;
        }
        // Only while the kernel tears down what was just killed: a few rounds at most.
        poll(NULL, 0, pause_ms);
        pause_ms = pause_ms < 50 ? pause_ms * 2 : 50;
    }
    free(killed.items);
    return count;
}

static bool carries(pid_t pid, const char *entry) {
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/environ", (int)pid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return false;
    }
    struct text t = {0};
    char bytes[16384];
    ssize_t n;
    while ((n = read(fd, bytes, sizeof bytes)) > 0) {
        text_add_bytes(&t, bytes, (size_t)n);
    }
    close(fd);
    bool found = false;
    for (size_t at = 0; at < t.size && !found; at += strlen(t.data + at) + 1) {
        found = strcmp(t.data + at, entry) == 0;
    }
    text_finish(&t);
    return found;
}

int family_kill_nonce(const char *nonce, int64_t limit_ms) {
    char entry[128];
    snprintf(entry, sizeof entry, "LM_NONCE=%s", nonce);
    int64_t deadline = clocks_now_ms() + limit_ms;
    int count = 0;
    for (;;) {
        int alive = 0;
        DIR *d = opendir("/proc");
        for (struct dirent *e; d && (e = readdir(d));) {
            pid_t pid = (pid_t)strtol(e->d_name, NULL, 10);
            if (pid <= 0 || pid == getpid() || !carries(pid, entry)) {
                continue;
            }
            alive++;
            kill(pid, SIGKILL);
        }
        if (d) {
            closedir(d);
        }
        count = alive > count ? alive : count;
        if (alive == 0 || clocks_now_ms() >= deadline) {
            return count;
        }
        poll(NULL, 0, 5);
    }
}

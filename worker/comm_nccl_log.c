#include "worker/comm_nccl_log.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define NAME "nccl-log"

enum { LINE_SIZE = 1024 /* NCCL's own limit */, KINDS_MAX = 8 };

static struct {
    int fd; // 0: none, as the standard input is never one
    off_t read;
} state;

void comm_nccl_log_open(void) {
    if (state.fd > 0 || getenv("NCCL_DEBUG") || getenv("NCCL_DEBUG_FILE")) {
        return;
    }
    int fd = memfd_create(NAME, MFD_CLOEXEC);
    if (fd <= 0) {
        return;
    }
    char path[64];
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    setenv("NCCL_DEBUG", "INFO", 1);
    setenv("NCCL_DEBUG_SUBSYS", "TUNING", 0);
    setenv("NCCL_DEBUG_FILE", path, 1);
    state.fd = fd;
    state.read = 0;
}

bool comm_nccl_log_parse(
        const char *line, int64_t *bytes, const char **words, int *kind_size) {
    // "host:pid:tid [device] NCCL INFO AllReduce [Symmetric]: 4096 Bytes -> …"; NCCL
    // 2.20 to 2.22 have no "AllReduce: ".
    static const char start[] = " NCCL INFO ", arrow[] = " Bytes -> ";
    const char *found = strstr(line, start);
    const char *end = found ? strstr(found, arrow) : NULL;
    if (!end) {
        return false;
    }
    *words = found + sizeof start - 1;
    const char *number = end;
    while (number > *words && number[-1] >= '0' && number[-1] <= '9') {
        number--;
    }
    if (number == end) {
        return false;
    }
    *bytes = strtoll(number, NULL, 10);
    *kind_size = (int)strcspn(*words, " :0123456789");
    return true;
}

struct operation {
    int64_t bytes;
    int kind_size;
    char words[LINE_SIZE];
};

/* Keep the line where it tells of the largest operation of its kind. */
static void keep(const char *line, struct operation *kept, int *count) {
    int64_t bytes;
    const char *words;
    int kind_size, k = 0;
    if (!comm_nccl_log_parse(line, &bytes, &words, &kind_size)) {
        return;
    }
    while (k < *count && (kept[k].kind_size != kind_size ||
                                 strncmp(kept[k].words, words, (size_t)kind_size))) {
        k++;
    }
    if (k == KINDS_MAX || (k < *count && kept[k].bytes >= bytes)) {
        return;
    }
    *count += k == *count;
    kept[k].bytes = bytes;
    kept[k].kind_size = kind_size;
    snprintf(kept[k].words, sizeof kept[k].words, "%s", words);
}

bool comm_nccl_log_read(struct text *out) {
    struct operation kept[KINDS_MAX];
    int count = 0;
    char line[LINE_SIZE + 1];
    size_t filled = 0;
    ssize_t got;
    while (state.fd > 0 && (got = pread(state.fd, line + filled, LINE_SIZE - filled,
                                    state.read + (off_t)filled)) > 0) {
        filled += (size_t)got;
        line[filled] = '\0';
        char *end;
        while ((end = memchr(line, '\n', filled)) != NULL || filled == LINE_SIZE) {
            size_t size = end ? (size_t)(end - line) + 1 : filled;
            line[size - 1] = '\0';
            keep(line, kept, &count);
            memmove(line, line + size, filled - size);
            filled -= size;
            line[filled] = '\0';
            state.read += (off_t)size;
        }
    }
    for (int k = 0; k < count; k++) {
        text_addf(out, "%s%s", k ? "; " : "", kept[k].words);
    }
    return count > 0;
}

/* NCCL's own descriptor of the log: another than ours, of the same memory. */
static int find_writer(void) {
    char link[64], target[128];
    int found = -1;
    DIR *folder = opendir("/proc/self/fd");
    struct dirent *entry;
    while (folder && found < 0 && (entry = readdir(folder)) != NULL) {
        int fd = (int)strtol(entry->d_name, NULL, 10);
        snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
        ssize_t size = readlink(link, target, sizeof target - 1);
        if (fd == state.fd || size < 0) {
            continue;
        }
        target[size] = '\0';
        if (strncmp(target, "/memfd:" NAME, strlen("/memfd:" NAME)) == 0) {
            found = fd;
        }
    }
    if (folder) {
        closedir(folder);
    }
    return found;
}

void comm_nccl_log_close(void) {
    if (state.fd <= 0) {
        return;
    }
    int writer = find_writer(), nothing = open("/dev/null", O_WRONLY | O_CLOEXEC);
    if (writer >= 0 && nothing >= 0) {
        dup2(nothing, writer);
    }
    if (nothing >= 0) {
        close(nothing);
    }
    close(state.fd);
    state.fd = 0;
}

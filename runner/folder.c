#include "runner/folder.h"

#include <dirent.h>
#include <errno.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define OPEN_MAX_FOLDERS 16

static int remove_one(
        const char *path, const struct stat *st, int type, struct FTW *ftw) {
    (void)st;
    (void)type;
    (void)ftw;
    return remove(path) && errno != ENOENT ? errno : 0;
}

bool folder_remove(const char *path, struct text *err) {
    int error = nftw(path, remove_one, OPEN_MAX_FOLDERS, FTW_DEPTH | FTW_PHYS);
    if (error == -1) {
        error = errno;
    }
    return error == 0 || error == ENOENT ||
           text_fail(err, "cannot remove '%s': %s", path, strerror(error));
}

static int64_t counted;

static int count_one(
        const char *path, const struct stat *st, int type, struct FTW *ftw) {
    (void)path;
    (void)ftw;
    counted += type == FTW_F && S_ISREG(st->st_mode) ? (int64_t)st->st_size : 0;
    return 0;
}

int64_t folder_bytes(const char *path) {
    counted = 0;
    nftw(path, count_one, OPEN_MAX_FOLDERS, FTW_PHYS);
    return counted;
}

static int by_name(const void *a, const void *b) {
    return strcmp(*(char *const *)a, *(char *const *)b);
}

char **folder_names(const char *path, const char *prefix) {
    size_t count = 0, capacity = 8;
    char **names = text_allocate(capacity * sizeof *names);
    DIR *d = opendir(path);
    for (struct dirent *e; d && (e = readdir(d));) {
        if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, "..") ||
                strncmp(e->d_name, prefix, strlen(prefix)) != 0) {
            continue;
        }
        if (count + 2 > capacity) {
            capacity *= 2;
            names = text_reallocate(names, capacity * sizeof *names);
        }
        names[count++] = text_copy(e->d_name);
    }
    if (d) {
        closedir(d);
    }
    names[count] = NULL;
    qsort(names, count, sizeof *names, by_name);
    return names;
}

void folder_free_names(char **names) {
    for (char **n = names; n && *n; n++) {
        free(*n);
    }
    free(names);
}

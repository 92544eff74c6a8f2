/* Folder trees: measured, removed. Symbolic links are never followed. */
#ifndef RUNNER_FOLDER_H
#define RUNNER_FOLDER_H

#include <stdbool.h>
#include <stdint.h>

#include "matrix/text.h"

/* Remove `path` and all below it; what is not there is fine. Stops at the first that
 * cannot be removed. */
bool folder_remove(const char *path, struct text *err);

/* Bytes in the regular files of `path` and below; 0 where it is not there. */
int64_t folder_bytes(const char *path);

/*
 * The names in `path` that start with `prefix`, sorted, but for "." and ".."; NULL-
 * terminated, empty where there is no such folder. The caller owes folder_free_names().
 */
char **folder_names(const char *path, const char *prefix);
void folder_free_names(char **names);

#endif

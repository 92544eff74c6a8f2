/*
 * Whole files: read, written durably, folders made. The one place that knows how a
 * file is made to appear all at once.
 */
#ifndef MATRIX_FILE_H
#define MATRIX_FILE_H

#include <stdbool.h>
#include <stddef.h>

#include "matrix/text.h"

/*
 * Append the bytes of the regular file `path` to `out`. Fails, adding nothing, where it
 * cannot be read or is larger than `max_bytes`.
 */
bool file_read(const char *path, size_t max_bytes, struct text *out, struct text *err);

/*
 * Make `path` hold exactly `size` bytes of `data`: written to a temporary file beside
 * it, fsynced, renamed over it, the folder fsynced. On failure `path` is as it was and
 * the temporary file is gone.
 */
bool file_write(const char *path, const void *data, size_t size, struct text *err);

/* As file_write() but without the fsyncs: whole or absent to readers, not durable. */
bool file_write_quick(
        const char *path, const void *data, size_t size, struct text *err);

/* Make folder `path` and its parents; an existing folder is fine. */
bool file_make_folders(const char *path, struct text *err);

#endif

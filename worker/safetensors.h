/*
 * The safetensors format: named tensors in one file. Eight bytes little-endian length
 * of a JSON header, the header, then the tensors' bytes. Reader and writer.
 */
#ifndef WORKER_SAFETENSORS_H
#define WORKER_SAFETENSORS_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "kernels/tensor.h"
#include "matrix/text.h"

#define SAFETENSORS_NAME 128 /* bytes of a name, its NUL included */

struct named_tensor {
    char name[SAFETENSORS_NAME];
    struct tensor tensor; /* data in host memory */
};

/* What a file held. */
struct safetensors {
    struct named_tensor *items; /* data points into `bytes` */
    int count;
    json_t *metadata; /* object of strings; empty where the file has none */
    void *bytes;      /* the tensors' bytes; owned */
};

/*
 * Write `count` tensors to `path`; `metadata` is a JSON object of strings or NULL. The
 * file appears whole or not at all, see file_write().
 */
bool safetensors_write(const char *path, const struct named_tensor *items, int count,
        const json_t *metadata, struct text *err);

/*
 * Read `path` whole. The sentence says what is wrong with a file that is truncated or
 * makes no sense; `out` then holds nothing. On success the caller owes
 * safetensors_finish().
 */
bool safetensors_read(const char *path, struct safetensors *out, struct text *err);
void safetensors_finish(struct safetensors *s); /* zeroed is fine */

/* NULL where there is none of that name. */
const struct tensor *safetensors_find(const struct safetensors *s, const char *name);

#endif

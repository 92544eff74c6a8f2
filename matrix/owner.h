/*
 * owner.json: who runs an attempt. The runner that claimed it writes the file before
 * the attempt's folder appears; the supervisor adds itself before it starts a rank. As
 * long as one of the two lives, nobody else touches the attempt.
 *
 *   {"format": 1, "host": …, "boot_id": …, "nonce": …, "cgroup": … or null,
 *    "started_unix_ms": …, "runner": {"pid": …, "start_ticks": …},
 *    "supervisor": {…} or null}
 */
#ifndef MATRIX_OWNER_H
#define MATRIX_OWNER_H

#include <stdbool.h>
#include <stdint.h>

#include "matrix/text.h"

#define OWNER_NONCE_MAX 64

/* A process for ever: ids are used again, an id and its start time are not. */
struct owner_process {
    int64_t pid;         /* 0 where there is none */
    int64_t start_ticks; /* field 22 of /proc/PID/stat, since boot */
};

struct owner {
    char *host;
    char *boot_id;
    char nonce[OWNER_NONCE_MAX + 1]; /* in the environment of all that it started */
    char *cgroup;                    /* leaf folder, NULL where none was made */
    int64_t started_unix_ms;
    struct owner_process runner, supervisor;
};

/* Free what `o` owns and zero it; a zeroed owner is fine. */
void owner_finish(struct owner *o);

/* On failure `o` is zeroed. */
bool owner_read(const char *path, struct owner *o, struct text *err);

/* Whole, but not durable: no owner survives a power failure anyway. */
bool owner_write(const char *path, const struct owner *o, struct text *err);

#endif

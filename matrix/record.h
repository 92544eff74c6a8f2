/*
 * record.json: all that an attempt left behind. Written once, whole, by the attempt's
 * supervisor (or by a runner that finds an attempt `lost`), never changed.
 */
#ifndef MATRIX_RECORD_H
#define MATRIX_RECORD_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "matrix/axes.h"
#include "matrix/status.h"
#include "matrix/text.h"

/* One process of the attempt. Exit status and signal are two fields, never folded. */
struct record_rank {
    int rank;
    int64_t pid;
    int exit_code;     /* -1 where it did not exit by itself */
    int signal;        /* 0 where no signal ended it */
    bool collateral;   /* ended by the supervisor because another rank was guilty */
    char *phase;       /* last phase it announced, "" before the first */
    int64_t last_step; /* -1 before the first */
    int64_t max_rss_bytes;
    int64_t user_ms, system_ms;
};

struct record {
    char *matrix, *cell;
    char hash[13];
    int attempt;
    enum status status;
    int expect; /* an enum status or -1 */
    struct params params;
    int64_t started_unix_ms, ended_unix_ms, wall_ms;

    int guilty_rank;                 /* -1 where none is */
    int exit_code;                   /* of the guilty rank, -1 unknown */
    int signal;                      /* of the guilty rank, 0 none */
    char *phase;                     /* of the guilty rank, else rank 0's last */
    int64_t last_step;               /* -1 before the first */
    char *error;                     /* one sentence, "" where ok */
    int64_t bytes_asked, bytes_free; /* -1 unknown */
    bool predicted;                  /* out of memory foreseen by the plan */
    char *stderr_tail;               /* last lines of the guilty rank's stderr */
    int leaked; /* processes that outlived their rank and were killed */

    struct record_rank *ranks;
    int rank_count;
    char *profiler;     /* that rank 0 ran under, "nsys"; "" for none: an attempt with
                           one is shown, its numbers are used nowhere */
    char *profile;      /* files that it left in the attempt's folder, "" none */
    json_t *ops;        /* rank 0's event `ops` (event.h): {steps, mark_ms, ops: […]};
                           NULL where it sent none */
    json_t *allreduce;  /* array of rank 0's rows of the curve (curve.h), ascending by
                           bytes; NULL where it sent none */
    json_t *metrics;    /* object by metric name; absent names are unknown */
    json_t *memory;     /* array of {kind, planned_bytes, measured_bytes}, rank 0's */
    json_t *provenance; /* object: worker_build data_digest data tokenizer data_bytes
                           train_tokens val_tokens test_tokens vocab host boot_id cpu
                           cores memory_bytes gpus kernel device nondefault env … */
};

/* Free what `r` owns and zero it; a zeroed record is fine. */
void record_finish(struct record *r);

/* On failure (missing, torn, not a record, unknown format) `r` is zeroed. */
bool record_read(const char *path, struct record *r, struct text *err);

/* As record_read() from memory; `name` stands for the path in sentences. */
bool record_parse(const char *name, const char *bytes, size_t size, struct record *r,
        struct text *err);

/* New reference: what record_write() writes. NULL texts are written as "". */
json_t *record_to_json(const struct record *r);

/* Durable and whole: file_write(). */
bool record_write(const char *path, const struct record *r, struct text *err);

/* Whether the engine was not there to be tried, as PyTorch where Python has none: such
 * a record says nothing of others. */
bool record_lacks_engine(const struct record *r);

/* A metric's value, or NAN where it is unknown. */
double record_metric(const struct record *r, const char *name);

#endif

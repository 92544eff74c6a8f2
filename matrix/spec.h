/*
 * spec.json: what the runner asks of one attempt's workers. One file per attempt, read
 * by the supervisor and by every rank.
 *
 *   {"format": 1, "protocol": 1, "matrix": "smoke", "cell": "fp32/kernel=naive",
 *    "hash": "0123456789ab", "attempt": 1, "expect": null,
 *    "worker": ["/path/worker-cpu"], "params": {every parameter by name, typed}}
 *
 * and, where it is to be profiled, "profiler": "/path/nsys"; where the search of
 * `batch: max` is to stay below what earlier attempts ran out of memory with,
 * "batch_most": 124.
 */
#ifndef MATRIX_SPEC_H
#define MATRIX_SPEC_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "matrix/axes.h"
#include "matrix/text.h"

struct spec {
    char *matrix;       /* the matrix's name */
    char *cell;         /* the cell id */
    char hash[13];      /* the cell's hash */
    int attempt;        /* 1 … */
    int expect;         /* an enum status, or -1 where the matrix states none */
    char **worker;      /* NULL-terminated command that `run SPEC` is appended to */
    char *profiler;     /* path of one that rank 0 is to run under; NULL or "": none */
    int64_t batch_most; /* the largest that `max` may come to; 0: any */
    struct params params;
};

/* Free what `s` owns and zero it; a zeroed spec is fine. */
void spec_finish(struct spec *s);

/* Read and check `path`; on failure `s` is zeroed. Refuses an unknown format. */
bool spec_read(const char *path, struct spec *s, struct text *err);

/* As spec_read() from memory; `name` stands for the path in sentences. */
bool spec_parse(const char *name, const char *bytes, size_t size, struct spec *s,
        struct text *err);

/* Whole or absent, not durable: a spec says nothing that the matrix would not. */
bool spec_write(const char *path, const struct spec *s, struct text *err);

/* The object that spec_write() writes; new reference. For a worker's planner. */
json_t *spec_to_json(const struct spec *s);

#endif

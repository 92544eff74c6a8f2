/*
 * What a back end of worker/comm.h implements; contracts are there. comm.c owns `struct
 * comm`, joins the ranks, and checks ranges, types and sizes.
 */
#ifndef WORKER_COMM_BACKEND_H
#define WORKER_COMM_BACKEND_H

#include <stdatomic.h>

#include "worker/comm.h"
#include "worker/ranks.h"

/* The head of every back end's own struct. */
struct comm {
    const struct comm_backend *backend;
    struct ranks ranks;
    size_t announced_bytes, given_bytes;
    int pieces;
    atomic_llong bytes_moved; /* the back end adds what each operation moves */
};

struct comm_backend {
    const char *name;
    size_t state_bytes; /* of its struct, allocated zeroed before start() */

    /* Optional: it is available everywhere. */
    bool (*available)(struct text *err);

    /* Optional: host memory that all ranks share, at ranks.behind; none without. */
    size_t (*shared_bytes)(int world, size_t bytes);

    /* All ranks are there; options->failure is not NULL. stop() follows whether or not
     * this succeeded. */
    bool (*start)(struct comm *c, const struct comm_options *options, struct text *err);
    void (*stop)(struct comm *c);

    /* Within what comm_create() was told. */
    void *(*allocate)(struct comm *c, size_t bytes, struct kernel_error *why);

    /* `count` elements at `data`; for the latter two of each rank. `from` lies in place
     * or elsewhere. */
    bool (*all_reduce)(struct comm *c, struct stream *stream, void *data, int64_t count,
            enum dtype type, struct text *err);
    bool (*reduce_scatter)(struct comm *c, struct stream *stream, void *data,
            int64_t count, enum dtype type, struct text *err);
    bool (*all_gather)(struct comm *c, struct stream *stream, const void *from,
            void *data, int64_t count, enum dtype type, struct text *err);
    bool (*wait)(struct comm *c, struct stream *stream, int pending, struct text *err);

    /* Optional: it knows no graphs; has no facts; takes nothing on a device. */
    bool (*replay)(struct comm *c, struct stream *stream, struct text *err);
    void (*facts)(struct comm *c, json_t *fields);
    void (*settle)(struct comm *c);
    int64_t (*device_bytes)(const struct comm *c);
};

#endif

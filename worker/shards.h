/*
 * What of the arenas each rank updates where the optimizer's state is spread over the
 * ranks (ZeRO-1: Rajbhandari et al. 2020).
 */
#ifndef WORKER_SHARDS_H
#define WORKER_SHARDS_H

#include "worker/buckets.h"

/* Elements [from, from + count) of the arena, whose optimizer state starts at element
 * `state` of the rank's own. */
struct shard {
    int64_t from, count, state;
};

struct shards {
    struct shard *items;
    int count;
    int64_t elements; /* of all: the rank's optimizer state */
};

/* Rank `rank`'s equal share of every bucket. */
void shards_init(struct shards *s, const struct buckets *buckets, int rank, int world);

/* The whole arena, as one. */
void shards_init_whole(struct shards *s, int64_t elements);
void shards_finish(struct shards *s); /* zeroed is fine */

#endif

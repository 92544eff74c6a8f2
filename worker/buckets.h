/*
 * The slices in which a gradient arena travels, and what of them each rank owns where
 * the optimizer's state is spread (ZeRO-1: Rajbhandari et al. 2020).
 */
#ifndef WORKER_BUCKETS_H
#define WORKER_BUCKETS_H

#include <stdint.h>

#include "worker/parameters.h"

/* Elements [from, to) of the arena. */
struct bucket {
    int64_t from, to;
};

/* In the order in which backward fills them: the arena's end comes first. */
struct buckets {
    struct bucket *items;
    int count;
};

/*
 * Cut elements [from, the end) into slices of at least `least` elements, or what is
 * left. Cuts lie between parameters; where `unit` > 1, on multiples of `unit` instead,
 * which must divide `from` and the arena's size.
 */
void buckets_init(struct buckets *b, const struct parameters *parameters, int64_t from,
        int64_t least, int64_t unit);
void buckets_finish(struct buckets *b); /* zeroed is fine */

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

#include "worker/shards.h"

#include <assert.h>
#include <stdlib.h>

#include "matrix/text.h"

void shards_init(struct shards *s, const struct buckets *buckets, int rank, int world) {
    *s = (struct shards){.count = buckets->count,
            .items = text_allocate((size_t)buckets->count * sizeof *s->items)};
    for (int i = 0; i < buckets->count; i++) {
        const struct bucket *b = &buckets->items[i];
        int64_t count = (b->to - b->from) / world;
        assert(count * world == b->to - b->from);
        s->items[i] = (struct shard){b->from + rank * count, count, s->elements};
        s->elements += count;
    }
}

void shards_init_whole(struct shards *s, int64_t elements) {
    *s = (struct shards){
            .count = 1, .items = text_allocate(sizeof *s->items), .elements = elements};
    s->items[0] = (struct shard){0, elements, 0};
}

void shards_finish(struct shards *s) {
    free(s->items);
    *s = (struct shards){0};
}

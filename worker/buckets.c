#include "worker/buckets.h"

#include <assert.h>
#include <stdlib.h>

#include "matrix/text.h"

static int64_t smaller(int64_t a, int64_t b) {
    return a < b ? a : b;
}

/* The highest cut that leaves `least` elements before `to`; `from` where none does. */
static int64_t cut(const struct parameters *parameters, int64_t from, int64_t to,
        int64_t least, int64_t unit) {
    int64_t at = to - least;
    if (at <= from) {
        return from;
    }
    if (unit > 1) {
        at = at / unit * unit;
        return at > from ? at : from;
    }
    int i = parameters->count - 1;
    while (i > 0 && parameters->items[i].offset > at) {
        i--;
    }
    int64_t offset = parameters->items[i].offset;
    return offset > from ? offset : from;
}

void buckets_init(struct buckets *b, const struct parameters *parameters, int64_t from,
        int64_t least, int64_t unit) {
    int64_t to = parameters->elements;
    int capacity = 0;
    assert(unit <= 1 || (from % unit == 0 && to % unit == 0));
    *b = (struct buckets){0};
    least = smaller(least > 0 ? least : 1, to);
    while (to > from) {
        if (b->count == capacity) {
            capacity = capacity ? 2 * capacity : 32;
            b->items = text_reallocate(b->items, (size_t)capacity * sizeof *b->items);
        }
        int64_t start = cut(parameters, from, to, least, unit);
        b->items[b->count++] = (struct bucket){start, to};
        to = start;
    }
}

void buckets_finish(struct buckets *b) {
    free(b->items);
    *b = (struct buckets){0};
}

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

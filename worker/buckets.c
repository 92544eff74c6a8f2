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

static void add(struct buckets *b, int64_t from, int64_t to) {
    b->items = text_reallocate(b->items, (size_t)(b->count + 1) * sizeof *b->items);
    b->items[b->count++] = (struct bucket){from, to};
}

/* The lowest cut that leaves `last` elements behind `from`; `to` where none does. */
static int64_t cut_last(const struct parameters *parameters, int64_t from, int64_t to,
        int64_t last, int64_t unit) {
    int64_t at = from + last;
    if (unit > 1) {
        at = (at + unit - 1) / unit * unit;
    } else {
        int i = 0;
        while (i < parameters->count && parameters->items[i].offset < at) {
            i++;
        }
        at = i < parameters->count ? parameters->items[i].offset : to;
    }
    return at < to ? at : to;
}

void buckets_init(struct buckets *b, const struct parameters *parameters, int64_t from,
        int64_t least, int64_t last, int64_t unit) {
    int64_t to = parameters->elements;
    assert(unit <= 1 || (from % unit == 0 && to % unit == 0));
    *b = (struct buckets){0};
    least = smaller(least > 0 ? least : 1, to);
    last = last > 0 ? last : 1;
    while (to > from) {
        int64_t start = cut(parameters, from, to, least, unit);
        int64_t middle =
                start > from ? start : cut_last(parameters, from, to, last, unit);
        if (middle < to && middle > start) {
            add(b, middle, to);
            to = middle;
        }
        add(b, start, to);
        to = start;
    }
}

void buckets_finish(struct buckets *b) {
    free(b->items);
    *b = (struct buckets){0};
}

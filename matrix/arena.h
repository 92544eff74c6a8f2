/*
 * Memory that is given back all at once: many small pieces that live as long as one
 * owner. A zeroed arena is empty and needs no init.
 */
#ifndef MATRIX_ARENA_H
#define MATRIX_ARENA_H

#include <stddef.h>

struct arena_chunk;

struct arena {
    struct arena_chunk *chunks;
    size_t used, capacity; /* of the newest chunk */
};

/* Zeroed bytes, aligned for anything; never NULL. Valid until arena_finish(). */
void *arena_allocate(struct arena *a, size_t bytes);

/* A copy of `s` or of its first `size` bytes, NUL-terminated. */
char *arena_copy(struct arena *a, const char *s);
char *arena_copy_bytes(struct arena *a, const char *s, size_t size);

/* Free everything and zero `a`; a zeroed arena may be finished. */
void arena_finish(struct arena *a);

#endif

#include "matrix/arena.h"

#include <stdalign.h>
#include <stdlib.h>
#include <string.h>

#include "matrix/text.h"

#define CHUNK_BYTES (64 << 10)

struct arena_chunk {
    struct arena_chunk *next;
    alignas(max_align_t) char bytes[];
};

void *arena_allocate(struct arena *a, size_t bytes) {
    size_t align = alignof(max_align_t);
    bytes = (bytes + align - 1) / align * align;
    if (bytes > a->capacity - a->used) {
        size_t capacity = bytes > CHUNK_BYTES ? bytes : CHUNK_BYTES;
        struct arena_chunk *chunk =
                text_allocate_zeroed(1, sizeof(struct arena_chunk) + capacity);
        chunk->next = a->chunks;
        a->chunks = chunk;
        a->used = 0;
        a->capacity = capacity;
    }
    void *p = a->chunks->bytes + a->used;
    a->used += bytes;
    return p;
}

char *arena_copy_bytes(struct arena *a, const char *s, size_t size) {
    char *copy = arena_allocate(a, size + 1);
    memcpy(copy, s, size);
    return copy;
}

char *arena_copy(struct arena *a, const char *s) {
    return arena_copy_bytes(a, s, strlen(s));
}

void arena_finish(struct arena *a) {
    while (a->chunks) {
        struct arena_chunk *next = a->chunks->next;
        free(a->chunks);
        a->chunks = next;
    }
    *a = (struct arena){0};
}

/*
 * The text itself, as bytes in memory: generated, or read from files.
 */
#ifndef WORKER_CORPUS_H
#define WORKER_CORPUS_H

#include <stdbool.h>
#include <stddef.h>

#include "kernels/kernels.h"
#include "matrix/text.h"

struct corpus {
    char *bytes; /* owned */
    size_t size;
    char source[512]; /* what it is, for people */
};

/*
 * Fetch what parameter `data` asks for (worker/data.h says what that may be); relative
 * paths start at `root`, unless that is "". On failure nothing is held and `why->kind`
 * is set as data_create() says.
 */
bool corpus_init(struct corpus *c, const char *asked, const char *root,
        struct kernel_error *why, struct text *err);
void corpus_finish(struct corpus *c);

/*
 * malloc(), or false with KERNEL_OUT_OF_MEMORY in `why` and a sentence that names
 * `what` the memory was for.
 */
bool corpus_allocate(void **out, size_t bytes, const char *what,
        struct kernel_error *why, struct text *err);

#endif

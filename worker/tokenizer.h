/*
 * From text to tokens. So far one way: every byte is a token.
 */
#ifndef WORKER_TOKENIZER_H
#define WORKER_TOKENIZER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels/kernels.h"
#include "matrix/text.h"

struct tokenizer {
    char name[256]; /* as asked for: "bytes" */
    int64_t vocab;  /* tokens are 0 … vocab − 1 */
};

/*
 * What parameter `tokenizer` asks for. A vocabulary size or a tokenizer.json is refused
 * with KERNEL_UNSUPPORTED in `why`: this build has neither.
 */
bool tokenizer_init(struct tokenizer *t, const char *asked, struct kernel_error *why,
        struct text *err);

/* Tokens of `size` bytes into `tokens`, which has room for one a byte; how many. */
int64_t tokenizer_encode(
        const struct tokenizer *t, const char *bytes, size_t size, uint16_t *tokens);

#endif

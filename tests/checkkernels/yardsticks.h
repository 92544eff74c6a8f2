/*
 * The models whose shapes --bench times on a device: those that others' training times
 * are known for.
 */
#ifndef TESTS_CHECKKERNELS_YARDSTICKS_H
#define TESTS_CHECKKERNELS_YARDSTICKS_H

#include <stdbool.h>
#include <stdint.h>

struct yardstick {
    const char *name;
    bool llama; /* RMSNorm, RoPE, SwiGLU; else LayerNorm, positions, GELU */
    int64_t channels, heads, hidden, seq_len, batch;
    int64_t vocab, vocab_rows; /* rows of the table, padding included */
    int64_t parameters;
};

enum { YARDSTICKS = 4 };
extern const struct yardstick yardsticks[YARDSTICKS];

int64_t yardsticks_tokens(const struct yardstick *y); /* of a step */

#endif

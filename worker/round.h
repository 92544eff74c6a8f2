/* Whole numbers that several files of a worker want alike. */
#ifndef WORKER_ROUND_H
#define WORKER_ROUND_H

#include <stdint.h>

/* The least multiple of `to` (> 0) that is no less than `n` (≥ 0). */
static inline int64_t round_up(int64_t n, int64_t to) {
    return (n + to - 1) / to * to;
}

#endif

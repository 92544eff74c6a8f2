/*
 * The table of GEMM algorithms that timing has chosen, and its text file. Knows nothing
 * of CUDA: an algorithm is 64 opaque bytes of the library that made it, and is used
 * only where GPU, driver and library are those that it was timed with.
 *
 * The file: a first line with its name and version, then a line an entry, its fields
 * parted by tabs: GPU, driver, library, key, microseconds, algorithm in hexadecimal,
 * and a hash of all before it.
 */
#ifndef KERNELS_CUDA_ALGORITHMS_H
#define KERNELS_CUDA_ALGORITHMS_H

#include "kernels/kernels.h"

#define ALGORITHM_BYTES 64

/* What an algorithm was timed on. No tabs or line ends. */
struct algorithm_machine {
    char gpu[128], driver[64], library[64];
};

/* All that distinguishes products for the library. Zeroed and then filled, all fields
 * of one width: compared as bytes. */
struct algorithm_key {
    int64_t m, n, k;
    int64_t lda, ldb, ldout;
    int64_t batch, stride_a, stride_b, stride_out; /* strides 0 without a batch */
    int64_t transpose_a, transpose_b, accumulate;  /* 0 or 1 */
    int64_t bias; /* 0: none, 1: an epilogue, 2: filled in before the product */
    int64_t align_a, align_b, align_out, align_bias; /* bytes; bias 0 without one */
    int64_t workspace;                               /* bytes it may use */
    int64_t type, out_type;                          /* enum dtype */
    int64_t tf32;
};

struct algorithms; /* entries of any number of machines */

/* An empty table where `path` is NULL or no such file is there. A line that cannot be
 * read is an error that names file and line. */
bool algorithms_read(
        struct algorithms **out, const char *path, struct kernel_error *err);
void algorithms_destroy(struct algorithms *table); /* NULL is fine */

/* The ALGORITHM_BYTES of an entry, NULL where there is none; valid until the next put.
 */
const unsigned char *algorithms_find(const struct algorithms *table,
        const struct algorithm_machine *machine, const struct algorithm_key *key);
/* Adds an entry or replaces it. */
bool algorithms_put(struct algorithms *table, const struct algorithm_machine *machine,
        const struct algorithm_key *key, const unsigned char data[ALGORITHM_BYTES],
        double microseconds, struct kernel_error *err);

/* All entries, in order of their lines: written beside, synced, renamed over `path`. */
bool algorithms_save(
        const struct algorithms *table, const char *path, struct kernel_error *err);

/* 16 hex digits of a hash over this machine's keys and algorithms, in any order and
 * without the times; "" where it has none. */
void algorithms_digest(const struct algorithms *table,
        const struct algorithm_machine *machine, char digest[17]);

#endif

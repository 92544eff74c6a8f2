/*
 * checkkernels runs every fast kernel and the double-precision reference on the same
 * input and compares what they wrote. An op's file describes its cases as data:
 * operands with their role, and one call that works with either table. Fast outputs and
 * scratch start as NaN, so that unwritten elements and reads of garbage show; red zones
 * around every operand catch writes past its ends. On a device of its own (device.h)
 * the same cases run on copies in its memory.
 */
#ifndef TESTS_CHECKKERNELS_CHECK_H
#define TESTS_CHECKKERNELS_CHECK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels/kernels.h"

#define OPERANDS_MAX 12

enum role {
    ROLE_IN,
    ROLE_OUT,
    ROLE_IN_OUT,
    ROLE_SCRATCH /* bytes of `size[0]`; the truth has its own */
};

enum fill {
    FILL_NORMAL, /* about N(0, 1) */
    FILL_LARGE,  /* about N(0, 30²) */
    FILL_ZERO,
    FILL_TINY,     /* subnormals of the type */
    FILL_POSITIVE, /* from 0.1 to 2 */
    FILL_INDEX,    /* I32 from 0 to `below` − 1 */
    FILL_TARGET,   /* the same, one in eight −1 */
    FILL_OWNED,    /* I32: `below` − 1, `below` − 3, … */
    FILL_CONTROL   /* a control block amid training; `below` 1: after an overflow */
};

struct operand {
    enum role role;
    enum dtype type;
    enum fill fill;
    int64_t size[TENSOR_RANK_MAX]; /* ends at the first 0 */
    int64_t below;
    double scale; /* multiplies what `fill` makes; 0 means 1 */
    bool stored;  /* an output that is read on as stored: the truth stores it so too */
};

struct check_case {
    const char *op;
    char shape[64];
    enum dtype type;
    struct operand operands[OPERANDS_MAX];
    int count;
    /* Runs the op with table `k` on tensors in the operands' order. */
    bool (*call)(const struct check_case *c, const struct kernels *k,
            struct stream *stream, struct tensor *t, struct kernel_error *err);
    /* Bytes that operand `i` of role scratch needs with table `k`. */
    size_t (*scratch)(const struct check_case *c, const struct kernels *k, int i);
    int64_t number[8]; /* the call's own arguments */
    double factor;
    /* Largest |got − want| allowed: absolute + relative × |want|, on top of half a unit
     * in the last place of the output's type. */
    double absolute, relative;
    double flops, bytes;               /* of one call, for the floor */
    const struct matmul_problem *tune; /* on a device: what to tune it as */
};

enum { TABLES_MAX = 4 }; /* the float reference and each build of the CPU's */

struct device;

struct check {
    const struct kernels *tables[TABLES_MAX];
    int table_count;
    const struct kernels *fast;  /* the one at work */
    const struct kernels *truth; /* runs on any stream */
    struct stream *stream, *stream3;
    int threads; /* of `stream`: 1 but under --bench; stream3 has three */
    bool bench, tf32;
    struct device *device; /* where `fast` works; NULL: on the host's memory */
    bool quick;            /* the first of every few cases of an op and type */
    const char *quick_op;  /* of the case before, and how many it has had */
    int quick_count;
    const char *failing; /* op of the failure before, and how many it has had */
    int failing_count;
    bool lost; /* the device has faulted: nothing more can run there */
    double peak_flops, peak_bytes; /* a second, measured by check_roofs() */
    int cases, failures, skipped;
};

/* Adds an operand to `c` and returns it for more settings. */
struct operand *check_operand(struct check_case *c, enum role role, enum dtype type,
        enum fill fill, int64_t a, int64_t b, int64_t d, int64_t e);

/* Runs a case: checks it, or under --bench times it and prints a line. */
void check_run(struct check *check, const struct check_case *c);

/* A failed expectation outside check_run: prints the sentence and counts it. */
void check_fail(struct check *check, const struct check_case *c, const char *format,
        ...) __attribute__((format(printf, 3, 4)));

/* The device refuses a case as unsupported: prints and counts that. */
void check_skip(struct check *check, const struct check_case *c, const char *sentence);

/* Elementwise: every value of `got` within the case's bounds of the truth's. */
void check_compare(struct check *check, const struct check_case *c, int operand,
        const struct tensor *got, const struct tensor *want);
bool check_writes(const struct check_case *c, int operand);

/* A case's inputs, and what it starts from where it writes in place. */
void check_open_inputs(const struct check_case *c, struct tensor *inputs);
void check_close_inputs(const struct check_case *c, struct tensor *inputs);

/* Under --bench: measure what this machine can do, print it and the table's head.
 * False, after a complaint, where no stream could be made. */
bool check_roofs(struct check *check);

/* One line of the table. */
void check_line(const struct check *check, const char *op, const char *shape,
        enum dtype type, double best_s, double flops, double bytes);

enum { ZONE = 128, ZONE_BYTE = 0xa5 };

/* Memory with red zones; `aligned` to 64 bytes or, to be unkind, only to 16. */
struct tensor check_tensor(const struct operand *o, enum dtype type, bool aligned);
void check_fill(struct tensor *t, const struct operand *o, uint64_t seed);
bool check_zones(const struct tensor *t); /* untouched */
void check_free(struct tensor *t);

double check_get(const struct tensor *t, int64_t i);
void check_set(const struct tensor *t, int64_t i, double value);
double check_half_ulp(enum dtype type); /* relative */

/* Seconds; with one thread of processor time, which a busy machine disturbs less. */
double check_now(const struct check *check);

/* One entry per op file: all its cases, of every type and shape. */
void check_elementwise(struct check *check, const char *op);
void check_rows(struct check *check, const char *op);
void check_matmul(struct check *check, const char *op);
void check_optimizer(struct check *check, const char *op);
void check_normal(struct check *check, const char *op);
void check_attention(struct check *check, const char *op);

#endif

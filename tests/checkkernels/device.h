/*
 * A device with memory of its own, for checkkernels: one block of memory taken once,
 * out of which a case's operands are cut between red zones, and the stream of the table
 * at work. Any table serves whose memory the host reaches by copies alone.
 */
#ifndef TESTS_CHECKKERNELS_DEVICE_H
#define TESTS_CHECKKERNELS_DEVICE_H

#include "tests/checkkernels/check.h"

enum { BLOCKS_MAX = 64 };

struct device {
    const struct kernels *table;
    struct stream *stream;
    /* Each tensor in an allocation of its own, unfilled and without red zones, where a
     * memory checker knows better. */
    bool apart;
    unsigned char *memory;
    size_t bytes, used;
    void *blocks[BLOCKS_MAX]; /* of tensors that stand apart */
    size_t block_bytes[BLOCKS_MAX];
    int block_count;
};

/* Takes `bytes` of memory, less where the device has less free; none where apart. */
bool device_open(struct device *d, const struct kernels *table, bool apart,
        size_t bytes, struct kernel_error *err);
void device_close(struct device *d); /* a zeroed struct is fine */

/* Give all tensors back. */
void device_reset(struct device *d);

/*
 * Room for a tensor of `like`'s type and shape, every byte `poison`, between red zones.
 * It starts 16 bytes after a multiple of 64, or on one where `aligned`.
 */
bool device_tensor(struct device *d, const struct tensor *like, bool aligned,
        unsigned char poison, struct tensor *out, struct kernel_error *err);
bool device_upload(struct device *d, const struct tensor *to, const struct tensor *from,
        struct kernel_error *err);
/* Waits. */
bool device_download(struct device *d, const struct tensor *to,
        const struct tensor *from, struct kernel_error *err);
/* Whether the red zones of `t` are untouched, in *clean. Waits. */
bool device_zones(struct device *d, const struct tensor *t, bool *clean,
        struct kernel_error *err);

/*
 * Queue `call` and wait: at once, or `captured` into a graph that is launched. Without
 * graphs on this device it is always at once.
 */
typedef bool (*device_call_fn)(
        void *context, struct stream *stream, struct kernel_error *err);
bool device_run(struct device *d, bool captured, device_call_fn call, void *context,
        struct kernel_error *err);

/* What a run of a case starts on: other garbage each time. */
enum { DEVICE_RUNS = 3 };
extern const unsigned char device_poison[DEVICE_RUNS];

/*
 * Prints why a call failed, as skipped where it is unsupported; where the device no
 * longer answers, check->lost is set.
 */
void device_failed(struct check *check, const struct check_case *c,
        const struct kernel_error *err);

/* ‖got − want‖ ÷ ‖want‖ within the limit of the output's type. */
void device_norm(struct check *check, const struct check_case *c, const char *name,
        const struct tensor *got, const struct tensor *want);

/* One case: near the truth; the same bits when run again, on other garbage, and from a
 * graph; inputs and red zones as they were. A product with `tune`, again once tuned. */
void device_check(struct check *check, const struct check_case *c,
        const struct tensor *inputs, const struct tensor *truth);

/* One case's median time, as a line of the table. */
void device_bench(struct check *check, const struct check_case *c);

#endif

/*
 * How full GPUs are, asked of one `worker-cuda memory` process that lives as long as
 * its user: the runner itself links nothing of CUDA's, and a new process for each
 * reading would load the driver's library each time.
 */
#ifndef RUNNER_GAUGE_H
#define RUNNER_GAUGE_H

#include <stdbool.h>
#include <stdint.h>

#include "runner/child.h"

#define GAUGE_UNKNOWN (-1)

/* Zeroed, it knows nothing and owns nothing. */
struct gauge {
    const char *worker; /* NULL: there is nobody to ask */
    struct child child; /* pid 0 until the first reading, and once it has failed */
    int in_fd, out_fd;  /* its standard input and output */
    bool failed;        /* it did not answer: it is not asked again */
    bool answered;      /* once, so that the driver's library is loaded */
};

/* `worker` (worker-cuda's path; NULL: none) must outlive `g`. Starts nothing yet. */
void gauge_init(struct gauge *g, const char *worker);
void gauge_finish(struct gauge *g);

/*
 * One reading of the `count` devices at these PCI addresses: bytes in use by everybody,
 * and free; GAUGE_UNKNOWN where nothing tells (`free_bytes` may be NULL). Takes a
 * millisecond or so, the first one longer. One that stays out for long is the last:
 * from then on all is unknown. SIGPIPE must be ignored.
 */
void gauge_read(struct gauge *g, char *const *bus_ids, int count, int64_t *used_bytes,
        int64_t *free_bytes);

#endif

/* How an attempt ended: a closed set, in the order reports list it. */
#ifndef MATRIX_STATUS_H
#define MATRIX_STATUS_H

#include <stdbool.h>

enum status {
    STATUS_OK,
    STATUS_OOM_DEVICE,
    STATUS_OOM_HOST,
    STATUS_TIMEOUT,
    STATUS_HANG,
    STATUS_CRASHED,
    STATUS_FAILED,
    STATUS_INVALID,
    STATUS_UNSUPPORTED,
    STATUS_PREEMPTED,
    STATUS_LOST,
    STATUS_INTERRUPTED,
    STATUS_EXCLUDED, /* planned cells without an attempt: left out by a rule … */
    STATUS_NOT_RUN,  /* … or not run yet */
    STATUS_COUNT
};

/* "ok", "oom_device", … */
const char *status_name(enum status s);

/* False, `out` untouched, where `name` is none of them. */
bool status_parse(const char *name, enum status *out);

/* One sentence for the reader of a report: what to do about a cell that ended so. */
const char *status_remedy(enum status s);

#endif

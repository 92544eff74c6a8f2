#include "runner/refuted.h"

#include "matrix/found.h"

#define FIRST_SHIFT 4 /* a margin of 1/16, then twice that each time */

static bool is_unfinished(enum status status) {
    return status == STATUS_LOST || status == STATUS_INTERRUPTED ||
           status == STATUS_PREEMPTED;
}

bool refuted_take(struct refuted *f, const struct record *r) {
    struct found found;
    found_read(r, &found);
    bool refutes = found.probed &&
                   (r->status == STATUS_OOM_HOST || r->status == STATUS_OOM_DEVICE);
    if (refutes) {
        f->times++;
        f->batch = f->batch && f->batch < found.batch ? f->batch : found.batch;
    } else if (!is_unfinished(r->status)) {
        // Those say nothing; any other end is one that the cell can stand with.
        f->times = 0;
    }
    return refutes;
}

int64_t refuted_most(const struct refuted *f) {
    int times = f->times > REFUTED_TRIES ? REFUTED_TRIES : f->times > 1 ? f->times : 1;
    int64_t margin = f->batch >> (FIRST_SHIFT + 1 - times);
    return f->batch == 0 ? 0 : f->batch - (margin > 1 ? margin : 1);
}

bool refuted_goes_on(const struct refuted *f) {
    return f->times <= REFUTED_TRIES && refuted_most(f) > 0;
}

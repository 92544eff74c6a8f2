#include "matrix/status.h"

#include <assert.h>
#include <string.h>

static const struct {
    const char *name, *remedy;
} table[STATUS_COUNT] = {
        [STATUS_OK] = {"ok", "nothing to do"},
        [STATUS_OOM_DEVICE] = {"oom_device",
                "lower batch or seq_len, or try kernel: flash, checkpoint: block or a "
                "lower precision"},
        [STATUS_OOM_HOST] = {"oom_host",
                "lower batch or seq_len, raise memory_limit, or free memory on the "
                "host"},
        [STATUS_TIMEOUT] = {"timeout", "raise timeout_s or lower steps"},
        [STATUS_HANG] = {"hang",
                "look at the last phase and stderr; raise start_s or heartbeat_s if "
                "the cell is merely slow"},
        [STATUS_CRASHED] = {"crashed",
                "read the end of stderr in the attempt's folder, and run the cell by "
                "hand with `worker-cpu run` or `worker-cuda run` on its spec.json"},
        [STATUS_FAILED] = {"failed",
                "read the error; correct what it names, then run with --retry failed"},
        [STATUS_INVALID] = {"invalid",
                "training diverged or a check failed: lower lr, or use a precision "
                "with more range"},
        [STATUS_UNSUPPORTED] = {"unsupported",
                "run it on a machine that has what the error names"},
        [STATUS_PREEMPTED] = {"preempted", "run again: the cell is taken anew"},
        [STATUS_LOST] = {"lost", "run again: the cell is taken anew"},
        [STATUS_INTERRUPTED] = {"interrupted", "run again: the cell is taken anew"},
        [STATUS_EXCLUDED] = {"excluded", "none: the matrix leaves it out, see why"},
        [STATUS_NOT_RUN] = {"not_run", "run the matrix without a selection"},
};

const char *status_name(enum status s) {
    assert(s >= 0 && s < STATUS_COUNT);
    return table[s].name;
}

bool status_parse(const char *name, enum status *out) {
    for (int i = 0; i < STATUS_COUNT; i++) {
        if (!strcmp(table[i].name, name)) {
            *out = (enum status)i;
            return true;
        }
    }
    return false;
}

const char *status_remedy(enum status s) {
    assert(s >= 0 && s < STATUS_COUNT);
    return table[s].remedy;
}

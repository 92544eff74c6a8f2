#include "matrix/found.h"

#include <jansson.h>

bool found_trains(enum status status) {
    return status == STATUS_OK || status == STATUS_INVALID;
}

static bool probe_trained(json_t *probes, int64_t batch) {
    size_t i;
    json_t *probe;
    json_array_foreach(probes, i, probe) {
        const char *name = json_string_value(json_object_get(probe, "status"));
        enum status status;
        if (json_integer_value(json_object_get(probe, "batch")) == batch && name &&
                status_parse(name, &status)) {
            return found_trains(status);
        }
    }
    return false;
}

bool found_read(const struct record *r, struct found *f) {
    json_t *search = json_object_get(r->provenance, "batch_search");
    *f = (struct found){0};
    if (!search) {
        return false;
    }
    f->batch = json_integer_value(json_object_get(search, "batch"));
    f->probed =
            f->batch > 0 && probe_trained(json_object_get(search, "probes"), f->batch);
    f->trained = f->batch > 0 && found_trains(r->status);
    return true;
}

#include "matrix/curve.h"

#include <math.h>

double curve_bus_bytes_per_s(int64_t bytes, double ms, int ranks) {
    return (double)bytes * 2 * (ranks - 1) / ranks / ms * 1e3;
}

json_t *curve_row_to_json(const struct curve_row *row) {
    return json_pack("{s:I, s:f, s:f, s:f, s:f}", "bytes", (json_int_t)row->bytes,
            "ms_median", row->ms_median, "ms_p10", row->ms_p10, "ms_p90", row->ms_p90,
            "bus_bytes_per_s", row->bus_bytes_per_s);
}

static bool read_positive(
        const json_t *object, const char *name, double *out, struct text *err) {
    const json_t *value = json_object_get(object, name);
    *out = json_is_number(value) ? json_number_value(value) : NAN;
    return *out > 0 || text_fail(err, "no positive '%s'", name);
}

bool curve_row_from_json(
        const json_t *object, struct curve_row *out, struct text *err) {
    *out = (struct curve_row){0};
    const json_t *bytes = json_object_get(object, "bytes");
    out->bytes = json_is_integer(bytes) ? json_integer_value(bytes) : 0;
    return (out->bytes > 0 || text_fail(err, "no positive 'bytes'")) &&
           read_positive(object, "ms_median", &out->ms_median, err) &&
           read_positive(object, "ms_p10", &out->ms_p10, err) &&
           read_positive(object, "ms_p90", &out->ms_p90, err) &&
           read_positive(object, "bus_bytes_per_s", &out->bus_bytes_per_s, err);
}

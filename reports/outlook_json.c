#include "reports/outlook_json.h"

#include <math.h>
#include <string.h>

static json_t *number(double x) {
    return isfinite(x) ? json_real(x) : json_null();
}

static json_t *step_json(const struct forecast_step *s) {
    return json_pack("{s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "step_ms",
            number(s->step_ms), "data_ms", number(s->rest_ms), "forward_ms",
            number(s->forward_ms), "backward_ms", number(s->backward_ms),
            "comm_exposed_ms", number(s->exposed_ms), "optimizer_ms",
            number(s->optimizer_ms), "comm_ms", number(s->comm_ms), "speedup",
            number(s->speedup), "scaling_efficiency", number(s->efficiency));
}

static json_t *measured_json(const struct outlook *o, const struct outlook_row *r) {
    const struct tally *m = r->measured;
    if (!m) {
        return json_null();
    }
    return json_pack("{s:s, s:s, s:o, s:o, s:o, s:o}", "cell", m->cell->id, "hash",
            m->cell->hash, "step_ms", number(tally_metric(m, "step_ms_median")),
            "comm_exposed_ms", number(tally_metric(m, "comm_exposed_ms")),
            "scaling_efficiency", number(outlook_measured_efficiency(o, r)),
            "error_pct", number(r->error_pct));
}

static json_t *row_json(const struct outlook *o, const struct outlook_row *r) {
    const struct outlook_base *b = o->bases + r->base;
    json_t *row = json_pack("{s:s, s:s, s:s, s:s, s:o, s:i, s:i, s:s, s:s?, s:s?, s:o, "
                            "s:b, s:o, s:o, s:b}",
            "matrix", b->tally->cell->matrix, "cell", b->tally->cell->id, "hash",
            b->tally->cell->hash, "ddp", axes_get(PARAM_DDP)->choices[r->wrapper.ddp],
            "bucket_mb", number(r->bucket_mb), "ranks", r->ranks, "nodes", r->nodes,
            "scaling", b->cell.strong ? "strong" : "weak", "curve",
            r->curve ? r->curve->tally->cell->id : NULL, "curve_beside",
            r->beside ? r->beside->tally->cell->id : NULL, "slowdown",
            number(b->slowdown), "slowdown_fitted", b->fitted > 0, "gather_slowdown",
            number(b->gather_slowdown), "undivided", number(b->undivided),
            "sharded_fitted", b->fitted_sharded > 0);
    json_object_set_new(row, "ring", step_json(&r->ring));
    json_object_set_new(row, "tree", step_json(&r->tree));
    json_object_set_new(row, "tokens_per_s", number(r->tokens_per_s));
    json_object_set_new(row, "measured", measured_json(o, r));
    return row;
}

static json_t *sentences_json(const char *const *sentences) {
    json_t *list = json_array();
    for (; *sentences; sentences++) {
        json_array_append_new(list, json_string(*sentences));
    }
    return list;
}

static json_t *skipped_json(const struct outlook *o) {
    json_t *list = json_array();
    for (const char *line = text_get(&o->skipped); *line;) {
        size_t size = strcspn(line, "\n");
        json_array_append_new(list, json_stringn(line, size));
        line += size + 1;
    }
    return list;
}

json_t *outlook_json(const struct outlook *o) {
    json_t *rows = json_array();
    for (size_t i = 0; i < o->row_count; i++) {
        json_array_append_new(rows, row_json(o, o->rows + i));
    }
    struct stats errors = outlook_errors(o);
    return json_pack("{s:o, s:{s:I, s:o, s:o}, s:o, s:o, s:o}", "forecasts", rows,
            "errors", "rows", (json_int_t)errors.count, "median_pct",
            number(errors.median), "most_pct", number(errors.maximum), "skipped",
            skipped_json(o), "model", sentences_json(forecast_model), "limits",
            sentences_json(forecast_limits));
}

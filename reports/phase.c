/* Where a step's time goes, and what is left of it beyond the phases. */
#include <math.h>

#include "reports/page.h"

static const char *const phases[] = {
        "data_ms", "forward_ms", "backward_ms", "comm_exposed_ms", "optimizer_ms"};
enum { PHASE_COUNT = sizeof phases / sizeof *phases };
static const char *const titles[] = {
        "data", "forward", "backward", "communication not hidden", "optimizer"};

bool phase_add(struct page *p, struct text *err) {
    struct table t = {0};
    table_add_code(&t, "cell", "cell");
    table_add_text(&t, "hash", "hash");
    table_show_last(&t, TABLE_CSV_ONLY);
    table_add_number(&t, "step_ms_median", "step", HUMAN_MS);
    table_add_number(&t, "step_ms_p10", "10th percentile", HUMAN_MS);
    table_add_number(&t, "step_ms_p90", "90th percentile", HUMAN_MS);
    for (int i = 0; i < PHASE_COUNT; i++) {
        table_add_number(&t, phases[i], titles[i], HUMAN_MS);
    }
    table_add_number(&t, "startup_ms", "start to first step", HUMAN_MS);
    for (size_t i = 0; i < p->tallies->count; i++) {
        const struct tally *o = p->tallies->items + i;
        if (!tally_counts(o) || !isfinite(tally_metric(o, "step_ms_median"))) {
            continue;
        }
        table_row(&t);
        table_put_text(&t, o->cell->id);
        table_put_text(&t, o->cell->hash);
        table_put_number(&t, tally_metric(o, "step_ms_median"));
        table_put_number(&t, tally_metric(o, "step_ms_p10"));
        table_put_number(&t, tally_metric(o, "step_ms_p90"));
        for (int k = 0; k < PHASE_COUNT; k++) {
            table_put_number(&t, tally_metric(o, phases[k]));
        }
        table_put_number(&t, tally_metric(o, "startup_ms"));
    }
    bool ok = page_add_csv(p, &t, "phases", err);
    if (ok && t.row_count) {
        text_add(&p->markdown,
                "## Where a step's time goes\n\n"
                "The step is timed without instruments; its phases come from separate "
                "instrumented steps, so they need not add up to it.\n\n");
        page_add_table(p, &t, "phases");
    }
    table_finish(&t);
    return ok;
}

/* How well the GPU was used, and what it said of itself meanwhile. */
#include <math.h>

#include "reports/fresh.h"
#include "reports/page.h"

static void add_columns(struct table *t) {
    static const char *const shares[][2] = {{"mfu", "MFU"}, {"hfu", "HFU"}};
    table_add_code(t, "cell", "cell");
    table_add_text(t, "hash", "hash");
    table_show_last(t, TABLE_CSV_ONLY);
    for (int i = 0; i < 2; i++) {
        table_add_number(t, shares[i][0], shares[i][1], HUMAN_REAL);
        table_show_last(t, TABLE_CSV_ONLY);
        table_add_text(t, shares[i][1], shares[i][1]);
        table_show_last(t, TABLE_PEOPLE_ONLY);
        table_right_last(t);
    }
    table_add_number(t, "joules_per_token", "J/token", HUMAN_REAL);
    table_add_number(t, "sm_clock_mhz", "SM clock, MHz", HUMAN_COUNT);
    table_add_number(t, "sm_clock_max_mhz", "at most", HUMAN_COUNT);
    table_add_number(t, "memory_clock_mhz", "memory clock, MHz", HUMAN_COUNT);
    table_add_number(t, "temperature_c", "\xc2\xb0\x43", HUMAN_COUNT);
    table_add_text(t, "throttle_reasons", "clocks held back by");
    table_add_number(t, "foreign_processes", "other processes", HUMAN_COUNT);
}

static void put_share(struct table *t, double share) {
    struct text percent = {0};
    human_number(&percent, HUMAN_PERCENT, 100 * share);
    table_put_number(t, share);
    table_put_text(t, text_get(&percent));
    text_finish(&percent);
}

static void add_row(struct table *t, const struct tally *o) {
    struct text reasons = {0};
    fresh_provenance(&o->last->record, "throttle_reasons", &reasons);
    table_row(t);
    table_put_text(t, o->cell->id);
    table_put_text(t, o->cell->hash);
    put_share(t, tally_metric(o, "mfu"));
    put_share(t, tally_metric(o, "hfu"));
    table_put_number(t, tally_metric(o, "joules_per_token"));
    table_put_number(t, tally_metric(o, "sm_clock_mhz"));
    table_put_number(t, tally_metric(o, "sm_clock_max_mhz"));
    table_put_number(t, tally_metric(o, "memory_clock_mhz"));
    table_put_number(t, tally_metric(o, "temperature_c"));
    table_put_text(t, text_get(&reasons));
    table_put_number(t, tally_metric(o, "foreign_processes"));
    text_finish(&reasons);
}

bool gpu_add(struct page *p, struct text *err) {
    struct table t = {0};
    add_columns(&t);
    bool disturbed = false;
    for (size_t i = 0; i < p->tallies->count; i++) {
        const struct tally *o = p->tallies->items + i;
        if (tally_counts(o) && (isfinite(tally_metric(o, "mfu")) ||
                                       isfinite(tally_metric(o, "sm_clock_mhz")))) {
            add_row(&t, o);
            disturbed |= tally_metric(o, "foreign_processes") > 0;
        }
    }
    // On a CPU there is nothing to tell, and no table.
    bool ok = !t.row_count || page_add_csv(p, &t, "gpu", err);
    if (ok && t.row_count) {
        text_add(&p->markdown,
                "## How the GPU was used\n\n"
                "MFU and HFU are shares of the device's dense peak. Clocks, "
                "temperature and "
                "what held clocks back are as the device told them during the timed "
                "window; energy is left out where that was shorter than 2 s.\n\n");
        page_add_table(p, &t, "gpu");
        if (disturbed) {
            text_add(&p->markdown,
                    "**Other processes computed on the GPU meanwhile**: the times of "
                    "those cells are not the cells' own.\n\n");
        }
    }
    table_finish(&t);
    return ok;
}

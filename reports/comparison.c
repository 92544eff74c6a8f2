/* The comparison table: every cell that was attempted, side by side. */
#include <math.h>

#include "reports/markdown.h"
#include "reports/page.h"

static double best_of(const struct tallies *o, const char *metric, bool largest) {
    double best = NAN;
    for (size_t i = 0; i < o->count; i++) {
        double x =
                tally_counts(o->items + i) ? tally_metric(o->items + i, metric) : NAN;
        bool better = largest ? x > best : x < best;
        if (isfinite(x) && (!isfinite(best) || better)) {
            best = x;
        }
    }
    return best;
}

static void put(struct table *t, const struct tally *o, const char *metric,
        double spread_pct, double best) {
    double x = tally_counts(o) ? tally_metric(o, metric) : NAN;
    table_put_spread(t, x, spread_pct);
    if (isfinite(x) && x == best) {
        table_mark_best(t);
    }
}

// Bold only means something among cells that do the same work.
static bool has_best(const struct tallies *o, size_t ok) {
    for (int i = 0; i < PARAM_COUNT; i++) {
        if (o->varies.has[i] && !context_is_technique((enum param)i) &&
                i != PARAM_SEED) {
            return false;
        }
    }
    return ok > 1;
}

static double best_if(
        const struct tallies *o, bool wanted, const char *metric, bool largest) {
    return wanted ? best_of(o, metric, largest) : NAN;
}

static void add_columns(struct table *t) {
    table_add_code(t, "cell", "technique");
    table_add_text(t, "hash", "hash");
    table_show_last(t, TABLE_CSV_ONLY);
    table_add_text(t, "status", "status");
    table_add_number(t, "batch", "batch", HUMAN_COUNT);
    table_add_number(t, "ranks", "ranks", HUMAN_COUNT);
    table_add_number(t, "val_ppl", "val. perplexity", HUMAN_REAL);
    table_add_number(t, "train_s", "train time", HUMAN_SECONDS);
    table_add_number(t, "peak_bytes", "peak memory", HUMAN_BYTES);
    table_add_number(t, "params", "parameters", HUMAN_SHORT);
    table_add_number(t, "tokens_per_s", "tokens/s", HUMAN_SHORT);
    table_add_number(t, "speedup", "speed-up", HUMAN_RATIO);
    table_add_number(t, "memory_saving_pct", "memory", HUMAN_CHANGE);
    table_show_last(t, TABLE_CSV_ONLY);
    table_add_number(t, "allreduce_bus_bytes_per_s", "bus bytes/s", HUMAN_SHORT);
    table_add_number(t, "allreduce_latency_ms", "latency, ms", HUMAN_REAL);
}

void comparison_table(const struct tallies *o, struct table *t) {
    add_columns(t);
    size_t ok = 0;
    bool all_ok = true;
    for (size_t i = 0; i < o->count; i++) {
        ok += tally_counts(o->items + i);
        all_ok = all_ok && (!o->items[i].last || tally_counts(o->items + i));
    }
    bool bold = has_best(o, ok);
    double ppl = best_if(o, bold, "val_ppl", false);
    double train = best_if(o, bold, "train_s", false);
    double peak = best_if(o, bold, "peak_bytes", false);
    double tps = best_if(o, bold, "tokens_per_s", true);
    for (size_t i = 0; i < o->count; i++) {
        const struct tally *item = o->items + i;
        if (!item->last) {
            continue;
        }
        const struct params *p = &item->cell->params;
        int64_t global = params_integer(p, PARAM_GLOBAL_BATCH);
        double batch = global ? (double)global : (double)params_integer(p, PARAM_BATCH);
        if (batch < 0) { // max: what was found
            batch = tally_found_batch(item);
        }
        table_row(t);
        table_put_text(t, item->cell->id);
        table_put_text(t, item->cell->hash);
        struct text status = {0};
        text_add(&status, status_name(item->status));
        text_add(&status, item->stale ? " (stale)" : "");
        table_put_text(t, all_ok ? "" : text_get(&status));
        text_finish(&status);
        table_put_number(t, batch > 0 && tally_trains(item) ? batch : NAN);
        table_put_number(t, o->varies.has[PARAM_RANKS]
                                    ? (double)params_integer(p, PARAM_RANKS)
                                    : NAN);
        put(t, item, "val_ppl", NAN, ppl);
        put(t, item, "train_s", NAN, train);
        put(t, item, "peak_bytes", stats_spread_pct(&item->peak_stats) / 2, peak);
        put(t, item, "params", NAN, NAN);
        put(t, item, "tokens_per_s", tally_speed_spread_pct(item), tps);
        put(t, item, "speedup", NAN, NAN);
        if (tally_does_other_work(o, item)) {
            table_mark_noted(t);
        }
        put(t, item, "memory_saving_pct", NAN, NAN);
        put(t, item, "allreduce_bus_bytes_per_s", NAN, NAN);
        put(t, item, "allreduce_latency_ms", NAN, NAN);
    }
}

// "same in every cell: …", so that no column says one thing in every row.
static void add_constants(struct page *p) {
    const struct tallies *o = p->tallies;
    const struct tally *first = NULL;
    for (size_t i = 0; i < o->count && !first; i++) {
        first = o->items[i].cell->excluded ? NULL : o->items + i;
    }
    if (!first) {
        return;
    }
    struct context constant = {0};
    size_t count = 0;
    for (int i = 0; i < PARAM_COUNT; i++) {
        constant.has[i] = axes_get((enum param)i)->hashed && !o->varies.has[i] &&
                          !params_is_default(&first->cell->params, (enum param)i);
        count += constant.has[i];
    }
    struct text values = {0};
    context_show(&first->cell->params, &constant, &values);
    text_add(&p->markdown, "Same in every cell: ");
    if (count) {
        markdown_add_code(&p->markdown, text_get(&values));
        text_add(&p->markdown, "; ");
    }
    text_add(&p->markdown, "every parameter not named is at its default.\n\n");
    text_finish(&values);
}

bool comparison_add(struct page *p, struct text *err) {
    struct table t = {0};
    comparison_table(p->tallies, &t);
    bool ok = page_add_csv(p, &t, "comparison", err);
    if (ok && t.row_count) {
        text_add(&p->markdown, "## Comparison\n\n");
        add_constants(p);
        page_add_table(p, &t, "comparison");
        if (p->tallies->baseline) {
            text_add(&p->markdown, "Speed-up is against ");
            markdown_add_code(&p->markdown, p->tallies->baseline->cell->id);
            if (p->tallies->baseline_named) {
                text_add(&p->markdown, ", what `--set` made of the baseline ");
                markdown_add_code(&p->markdown, p->tallies->baseline_named->cell->id);
                text_add(&p->markdown, ", which did not run");
            }
            text_add(&p->markdown, ".");
            text_add(&p->markdown,
                    table_is_noted(&t, PAGE_ROWS) ? " " COMPARISON_NOTE : "");
            text_add(&p->markdown, "\n\n");
        } else if (tallies_have_task(p->tallies, TASK_TRAIN)) {
            text_add(&p->markdown, "No speed-up: ");
            markdown_add_text(&p->markdown, p->tallies->baseline_missing);
            text_add(&p->markdown, ".\n\n");
        }
    }
    table_finish(&t);
    return ok;
}

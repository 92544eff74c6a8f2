/* One table for each parameter that varies: all else equal, what does it change? */
#include <math.h>
#include <stdlib.h>

#include "reports/choice.h"
#include "reports/markdown.h"
#include "reports/page.h"

static void add_row_columns(struct table *t, const char *axis) {
    table_add_code(t, axis, axis);
    table_add_code(t, "cell", "cell");
    table_add_code(t, "context", "context");
    table_show_last(t, TABLE_CSV_ONLY);
    table_add_text(t, "status", "status");
    table_add_number(t, "tokens_per_s", "tokens/s", HUMAN_SHORT);
    table_add_number(t, "step_ms_median", "step", HUMAN_MS);
    table_add_number(t, "peak_bytes", "peak memory", HUMAN_BYTES);
    table_add_number(t, "val_loss", "val. loss", HUMAN_REAL);
    table_show_last(t, TABLE_CSV_ONLY);
    table_add_number(t, "val_ppl", "val. perplexity", HUMAN_REAL);
    table_add_number(t, "train_s", "train time", HUMAN_SECONDS);
    table_add_code(t, "against", "against");
    table_show_last(t, TABLE_CSV_ONLY);
    table_add_number(t, "speed_ratio", "speed", HUMAN_RATIO);
    table_add_number(t, "memory_ratio", "memory", HUMAN_RATIO);
    table_add_number(t, "ppl_ratio", "perplexity", HUMAN_RATIO);
    table_add_text(t, "verdict", "verdict on speed");
}

static double ratio_to(const struct choice_row *row, const char *metric) {
    return row->partner ? stats_ratio(tally_metric(row->tally, metric),
                                  tally_metric(row->partner, metric))
                        : NAN;
}

// Whether drift might explain what the value of this row changes.
static bool may_drift(const struct choice *c, const struct choice_row *row) {
    for (size_t i = 0; i < c->value_count; i++) {
        if (context_compare_value(
                    &row->tally->cell->params, c->values[i].params, c->axis) == 0) {
            return tally_may_drift(row->tally, row->partner) &&
                   choice_may_drift(c->values + i);
        }
    }
    return false;
}

static const char *verdict_on(const struct choice *c, const struct choice_row *row) {
    const struct tally *o = row->tally;
    const struct tally *partner = row->partner;
    if (!partner) {
        const struct params *reference = c->values[c->reference].params;
        bool is_reference =
                context_compare_value(&o->cell->params, reference, c->axis) == 0;
        return c->pairs && is_reference && tally_counts(o) ? "the reference" : "";
    }
    enum stats_order order = stats_order(&o->tps, &partner->tps);
    return order == STATS_UNKNOWN ? ""
           : order == STATS_MEET  ? "within noise"
           : may_drift(c, row)    ? CHOICE_DRIFT
           : order == STATS_MORE  ? "faster"
                                  : "slower";
}

static bool is_partner(const struct choice *c, const struct tally *o) {
    for (size_t i = 0; i < c->row_count; i++) {
        if (c->rows[i].partner == o) {
            return true;
        }
    }
    return false;
}

static struct context others(const struct tallies *o, enum param axis) {
    struct context c = o->varies;
    c.has[axis] = false;
    return c;
}

// All rows, or only those that have a partner or are one.
static void add_rows(const struct tallies *o, const struct choice *c, bool only_pairs,
        struct table *t) {
    struct context rest = others(o, c->axis);
    struct text value = {0};
    for (size_t i = 0; i < c->row_count; i++) {
        const struct choice_row *row = c->rows + i;
        const struct tally *item = row->tally;
        bool counts = tally_counts(item);
        if (only_pairs && (row->repeated || (!row->partner && !is_partner(c, item)))) {
            continue;
        }
        table_row(t);
        text_clear(&value);
        context_show_value(&item->cell->params, c->axis, &value);
        table_put_text(t, text_get(&value));
        table_put_text(t, item->cell->id);
        text_clear(&value);
        context_show(&item->cell->params, &rest, &value);
        table_put_text(t, text_get(&value));
        table_put_text(t, item->stale ? "stale"
                          : counts    ? ""
                                      : status_name(item->status));
        table_put_spread(t, counts ? tally_metric(item, "tokens_per_s") : NAN,
                tally_speed_spread_pct(item));
        static const char *const names[] = {
                "step_ms_median", "peak_bytes", "val_loss", "val_ppl", "train_s"};
        for (size_t n = 0; n < sizeof names / sizeof *names; n++) {
            table_put_number(t, counts ? tally_metric(item, names[n]) : NAN);
        }
        table_put_text(t, row->partner ? row->partner->cell->id : "");
        table_put_number(t, ratio_to(row, "tokens_per_s"));
        table_put_number(t, ratio_to(row, "peak_bytes"));
        table_put_number(t, ratio_to(row, "val_ppl"));
        table_put_text(t, verdict_on(c, row));
    }
    text_finish(&value);
}

static void add_range(struct table *t, const struct stats *s) {
    struct text range = {0};
    if (s->count > 1) {
        human_range(&range, HUMAN_RATIO, s->minimum, s->maximum);
    }
    table_put_number(t, s->median);
    table_put_text(t, text_get(&range));
    text_finish(&range);
}

// The values side by side, over all contexts in which they meet the reference.
static void add_values(struct page *p, const struct choice *c, const char *name) {
    struct table t = {0};
    table_add_code(&t, "value", axes_get(c->axis)->name);
    table_add_number(&t, "cells", "cells", HUMAN_COUNT);
    table_add_number(&t, "ok", "ok", HUMAN_COUNT);
    table_add_number(&t, "pairs", "pairs", HUMAN_COUNT);
    table_add_number(&t, "speed", "speed", HUMAN_RATIO);
    table_add_text(&t, "speed_range", "range");
    table_right_last(&t);
    table_add_number(&t, "memory", "memory", HUMAN_RATIO);
    table_add_text(&t, "memory_range", "range");
    table_right_last(&t);
    table_add_number(&t, "ppl", "perplexity", HUMAN_RATIO);
    table_add_text(&t, "verdict", "verdict on speed");
    struct text text = {0};
    for (size_t i = 0; i < c->value_count; i++) {
        const struct choice_value *v = c->values + i;
        table_row(&t);
        text_clear(&text);
        context_show_value(v->params, c->axis, &text);
        table_put_text(&t, text_get(&text));
        table_put_number(&t, (double)v->cells);
        table_put_number(&t, (double)v->ok);
        table_put_number(&t, v->pairs ? (double)v->pairs : NAN);
        add_range(&t, &v->speed);
        add_range(&t, &v->memory);
        table_put_number(&t, v->ppl.median);
        text_clear(&text);
        choice_verdict(v, &text);
        if (!text.size) {
            text_add(&text, v->pairs || !c->pairs ? "" : "no like pair");
        }
        table_put_text(
                &t, c->pairs && i == c->reference ? "the reference" : text_get(&text));
    }
    page_add_table(p, &t, name);
    text_finish(&text);
    table_finish(&t);
}

static void introduce(struct page *p, const struct choice *c) {
    struct text value = {0};
    context_show_value(c->values[c->reference].params, c->axis, &value);
    text_add(&p->markdown, "### ");
    markdown_add_code(&p->markdown, axes_get(c->axis)->name);
    struct text with = {0};
    choice_show_with(c, &with);
    text_addf(&p->markdown, "%s%s\n\n", with.size ? ", moving with " : "",
            text_get(&with));
    if (c->pairs) {
        text_add(&p->markdown, "Ratios are to ");
        markdown_add_code(&p->markdown, text_get(&value));
        text_add(&p->markdown,
                c->axis == PARAM_RANKS ? ", in the same cell with `ddp: none`.\n\n"
                : c->contexts > 1      ? " in cells alike in all else, the median "
                                         "over the pairs.\n\n"
                : with.size            ? ", all but these equal.\n\n"
                                       : ", all else equal.\n\n");
    } else {
        text_add(&p->markdown, "No two cells that ended ok differ in this alone, so no "
                               "ratio is given.\n\n");
    }
    text_finish(&value);
    text_finish(&with);
}

// Worth a table of its own: it tells something, or is short. Seeds have a section.
static bool is_shown(const struct page *p, const struct choice *c) {
    return c->axis != PARAM_SEED && choice_leader(p->tallies, c->axis) == c->axis &&
           (c->pairs || c->row_count <= 12);
}

// A sweep over numbers is also looked at as it is: how far does memory grow? The ranks
// have their tables above.
static void add_sweep(struct page *p, const struct choice *c, const char *name) {
    const size_t most = 24;
    enum axis_type type = axes_get(c->axis)->type;
    if (c->axis == PARAM_RANKS || c->pairs > most ||
            (type != AXIS_INTEGER && type != AXIS_REAL)) {
        return;
    }
    struct table t = {0};
    add_row_columns(&t, axes_get(c->axis)->name);
    add_rows(p->tallies, c, true, &t);
    if (t.row_count <= most) {
        page_add_table(p, &t, name);
    }
    table_finish(&t);
}

static void show(struct page *p, const struct choice *c, const struct table *rows,
        const char *name) {
    introduce(p, c);
    if (c->contexts > 1 && c->pairs) {
        add_values(p, c, name);
        add_sweep(p, c, name);
    } else {
        page_add_table(p, rows, name);
    }
}

static bool add_axis(
        struct page *p, enum param axis, struct text *unjudged, struct text *err) {
    struct choice c;
    choice_init(&c, p->tallies, axis);
    struct table rows = {0};
    add_row_columns(&rows, axes_get(axis)->name);
    add_rows(p->tallies, &c, false, &rows);
    struct text name = {0};
    text_addf(&name, "by_%s", axes_get(axis)->name);
    if (is_shown(p, &c)) {
        show(p, &c, &rows, text_get(&name));
    } else if (axis != PARAM_SEED && choice_leader(p->tallies, axis) == axis) {
        text_add(unjudged, unjudged->size ? ", " : "");
        markdown_add_code(unjudged, axes_get(axis)->name);
    }
    bool ok = page_add_csv(p, &rows, text_get(&name), err);
    text_finish(&name);
    table_finish(&rows);
    choice_finish(&c);
    return ok;
}

bool axis_add(struct page *p, struct text *err) {
    // Without a speed or a perplexity there is nothing to judge a parameter by.
    size_t ok = p->candidates->count;
    bool any = false;
    bool written = true;
    struct text unjudged = {0};
    for (int i = 0; ok && written && i < PARAM_COUNT; i++) {
        if (p->tallies->varies.has[i]) {
            if (!any && i != PARAM_SEED) {
                text_add(&p->markdown, "## By parameter\n\n");
                any = true;
            }
            written = add_axis(p, (enum param)i, &unjudged, err);
        }
    }
    if (unjudged.size) {
        text_addf(&p->markdown,
                "Not judged, because no two cells that ended ok differ in it alone: "
                "%s.\n\n",
                text_get(&unjudged));
    }
    text_finish(&unjudged);
    return written;
}

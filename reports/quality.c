/*
 * What was learnt, and whether techniques that must not change it did not: with
 * `deterministic: on`, checkpointing, graphs and the bucket size leave every loss as it
 * is, to the last bit.
 */
#include <math.h>

#include "reports/choice.h"
#include "reports/markdown.h"
#include "reports/page.h"

static const char *const losses[] = {"first_loss", "final_loss", "val_loss"};
enum { LOSS_COUNT = sizeof losses / sizeof *losses };

static bool fill(const struct tallies *o, struct table *t) {
    table_add_code(t, "cell", "cell");
    table_add_text(t, "hash", "hash");
    table_show_last(t, TABLE_CSV_ONLY);
    table_add_number(t, "tokens_trained", "tokens trained", HUMAN_SHORT);
    table_add_number(t, "first_loss", "first loss", HUMAN_REAL);
    table_add_number(t, "final_loss", "last loss", HUMAN_REAL);
    table_add_number(t, "val_loss", "val. loss", HUMAN_REAL);
    table_add_number(t, "val_ppl", "val. perplexity", HUMAN_REAL);
    table_add_number(t, "val_accuracy", "val. accuracy (1 is all)", HUMAN_PERCENT);
    table_show_last(t, TABLE_CSV_ONLY);
    table_add_number(t, "val_accuracy_pct", "val. accuracy", HUMAN_PERCENT);
    table_show_last(t, TABLE_PEOPLE_ONLY);
    table_add_number(t, "val_tokens", "val. tokens", HUMAN_COUNT);
    table_add_number(t, "skipped_steps", "skipped steps", HUMAN_COUNT);
    for (size_t i = 0; i < o->count; i++) {
        const struct tally *item = o->items + i;
        if (!tally_counts(item) || !isfinite(tally_metric(item, "final_loss"))) {
            continue;
        }
        double skipped = tally_metric(item, "skipped_steps");
        table_row(t);
        table_put_text(t, item->cell->id);
        table_put_text(t, item->cell->hash);
        table_put_number(t, tally_metric(item, "tokens_trained"));
        for (int k = 0; k < LOSS_COUNT; k++) {
            table_put_number(t, tally_metric(item, losses[k]));
        }
        table_put_number(t, tally_metric(item, "val_ppl"));
        table_put_number(t, tally_metric(item, "val_accuracy"));
        table_put_number(t, 100 * tally_metric(item, "val_accuracy"));
        table_put_number(t, tally_metric(item, "val_tokens"));
        table_put_number(t, skipped > 0 ? skipped : NAN);
    }
    return t->row_count > 0;
}

// Two unknown losses are no evidence of anything.
static bool same_losses(const struct tally *a, const struct tally *b, bool *known) {
    bool same = true;
    *known = false;
    for (int i = 0; i < LOSS_COUNT; i++) {
        double x = tally_metric(a, losses[i]);
        double y = tally_metric(b, losses[i]);
        if (isfinite(x) && isfinite(y)) {
            *known = true;
            same = same && x == y;
        }
    }
    return same;
}

static const enum param harmless[] = {
        PARAM_CHECKPOINT, PARAM_CHECKPOINT_EVERY, PARAM_GRAPH, PARAM_BUCKET_MB};
enum { HARMLESS_COUNT = sizeof harmless / sizeof *harmless };

static bool is_harmless(enum param p) {
    for (int i = 0; i < HARMLESS_COUNT; i++) {
        if (harmless[i] == p) {
            return true;
        }
    }
    return false;
}

/* Deterministic, and the pair differs in nothing else that may change the result: not
 * in what moves with the axis, like a learning rate. */
static bool must_agree(const struct choice *c, const struct choice_row *row) {
    if (!row->partner || params_integer(&row->tally->cell->params,
                                 PARAM_DETERMINISTIC) != DETERMINISTIC_ON) {
        return false;
    }
    const struct params *p = &row->tally->cell->params,
                        *q = &row->partner->cell->params;
    for (int i = 0; i < PARAM_COUNT; i++) {
        if (c->with.has[i] && !is_harmless((enum param)i) &&
                context_compare_value(p, q, (enum param)i) != 0) {
            return false;
        }
    }
    return true;
}

// "`checkpoint`: the very same losses, bit for bit, in 6 of 6 like pairs."
static void check_axis(struct page *p, enum param axis, struct text *out) {
    struct choice c;
    choice_init(&c, p->tallies, axis);
    size_t pairs = 0;
    size_t same = 0;
    struct text broken = {0};
    for (size_t i = 0; i < c.row_count; i++) {
        bool known = false;
        if (!must_agree(&c, c.rows + i)) {
            continue;
        }
        bool agree = same_losses(c.rows[i].tally, c.rows[i].partner, &known);
        pairs += known;
        same += known && agree;
        if (known && !agree) {
            text_add(&broken, broken.size ? ", " : "");
            markdown_add_code(&broken, c.rows[i].tally->cell->id);
        }
    }
    if (pairs) {
        text_add(out, "- ");
        markdown_add_code(out, axes_get(axis)->name);
        text_addf(out, ": the very same losses, bit for bit, in %zu of ", same);
        human_plural(out, pairs, "like pair");
        text_add(out,
                same == pairs ? "" : ". **Not in these, a fault of the worker**: ");
        text_addf(out, "%s.\n", text_get(&broken));
    }
    text_finish(&broken);
    choice_finish(&c);
}

static void add_checks(struct page *p) {
    struct text checks = {0};
    for (int i = 0; i < HARMLESS_COUNT; i++) {
        if (p->tallies->varies.has[harmless[i]] &&
                choice_leader(p->tallies, harmless[i]) == harmless[i]) {
            check_axis(p, harmless[i], &checks);
        }
    }
    if (checks.size) {
        text_addf(&p->markdown,
                "What must not change the result, checked in cells alike in all else "
                "(`deterministic: on`):\n\n%s\n",
                text_get(&checks));
    }
    text_finish(&checks);
}

bool quality_add(struct page *p, struct text *err) {
    struct table t = {0};
    bool any = fill(p->tallies, &t);
    bool ok = page_add_csv(p, &t, "quality", err);
    if (ok && any) {
        text_add(&p->markdown, "## Quality\n\n");
        add_checks(p);
        page_add_table(p, &t, "quality");
    }
    table_finish(&t);
    return ok;
}

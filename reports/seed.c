/* Means over seeds: what a difference in quality has to be measured against. */
#include <math.h>

#include "reports/markdown.h"
#include "reports/page.h"

bool seed_add(struct page *p, struct text *err) {
    if (!p->tallies->varies.has[PARAM_SEED]) {
        return true;
    }
    struct context rest = p->tallies->varies;
    rest.has[PARAM_SEED] = false;
    struct table t = {0};
    table_add_code(&t, "cells", "cells");
    table_add_number(&t, "seeds", "seeds", HUMAN_COUNT);
    table_add_number(&t, "val_loss_mean", "val. loss, mean", HUMAN_REAL);
    table_add_number(&t, "val_loss_deviation", "std. deviation", HUMAN_REAL);
    table_add_number(&t, "val_loss_min", "lowest", HUMAN_REAL);
    table_add_number(&t, "val_loss_max", "highest", HUMAN_REAL);
    table_add_number(&t, "val_ppl_mean", "val. perplexity, mean", HUMAN_REAL);
    table_add_number(&t, "tokens_per_s_mean", "tokens/s, mean", HUMAN_SHORT);
    struct text name = {0};
    for (size_t i = 0; i < p->candidates->count; i++) {
        const struct candidate *c = p->candidates->items + i;
        text_clear(&name);
        context_show(&c->first->cell->params, &rest, &name);
        table_row(&t);
        table_put_text(&t, name.size ? text_get(&name) : c->first->cell->experiment);
        table_put_number(&t, (double)c->seeds);
        table_put_number(&t, c->val_loss.mean);
        table_put_number(&t, c->val_loss.deviation);
        table_put_number(&t, c->val_loss.minimum);
        table_put_number(&t, c->val_loss.maximum);
        table_put_number(&t, c->ppl.value);
        table_put_number(&t, c->tps.value);
    }
    bool ok = page_add_csv(p, &t, "seeds", err);
    if (ok && t.row_count) {
        text_add(&p->markdown, "## Over seeds\n\n");
        page_add_table(p, &t, "seeds");
    }
    text_finish(&name);
    table_finish(&t);
    return ok;
}

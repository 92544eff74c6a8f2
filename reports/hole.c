/* Holes: every cell that is not ok, the excluded ones included, with cause and remedy;
 * those that ended ok but should not have; stale results; records that cannot be read.
 * Nothing planned ever drops out. */
#include <stdlib.h>
#include <string.h>

#include "matrix/results.h"
#include "reports/markdown.h"
#include "reports/page.h"

static void add_columns(struct table *t) {
    table_add_code(t, "cell", "cell");
    table_add_text(t, "hash", "hash");
    table_show_last(t, TABLE_CSV_ONLY);
    table_add_text(t, "status", "status");
    table_add_text(t, "expected", "expected");
    table_add_text(t, "cause", "cause");
    table_add_text(t, "remedy", "remedy");
    table_show_last(t, TABLE_CSV_ONLY);
}

static void add_row(struct table *t, const struct tally *o) {
    table_row(t);
    table_put_text(t, o->cell->id);
    table_put_text(t, o->cell->hash);
    struct text status = {0};
    text_add(&status, status_name(o->status));
    text_add(&status, o->stale ? " (stale)" : "");
    table_put_text(t, text_get(&status));
    text_finish(&status);
    int expect = o->cell->expect;
    struct text expected = {0};
    if (expect >= 0) {
        text_add(&expected, status_name((enum status)expect));
        text_add(&expected, (int)o->status == expect      ? ""
                            : tally_met_expectation(o)    ? ", passes"
                            : o->status == STATUS_NOT_RUN ? ""
                                                          : ", not met");
    }
    table_put_text(t, text_get(&expected));
    text_finish(&expected);
    table_put_text(t, o->cause);
    table_put_text(t, status_remedy(o->status));
}

// One remedy a status, below the table, rather than the same sentence in every row; and
// none for what the matrix expects.
static void add_remedies(struct page *p, const bool present[STATUS_COUNT]) {
    bool any = false;
    for (int s = 0; s < STATUS_COUNT; s++) {
        if (present[s]) {
            text_add(&p->markdown, any ? "" : "What to do:\n\n");
            any = true;
            text_add(&p->markdown, "- **");
            markdown_add_text(&p->markdown, status_name((enum status)s));
            text_add(&p->markdown, "**: ");
            text_add(&p->markdown, status_remedy((enum status)s));
            text_add(&p->markdown, "\n");
        }
    }
    text_add(&p->markdown, any ? "\n" : "");
}

static void add_stale(struct page *p) {
    const struct tallies *o = p->tallies;
    struct table t = {0};
    table_add_code(&t, "cell", "cell");
    table_add_text(&t, "differs", "differs from today's");
    table_add_number(&t, "tokens_per_s", "tokens/s then", HUMAN_SHORT);
    table_add_number(&t, "peak_bytes", "peak memory then", HUMAN_BYTES);
    table_add_number(&t, "val_ppl", "val. perplexity then", HUMAN_REAL);
    for (size_t i = 0; i < o->count; i++) {
        const struct tally *item = o->items + i;
        if (item->stale) {
            table_row(&t);
            table_put_text(&t, item->cell->id);
            table_put_text(&t, item->stale);
            table_put_number(&t, tally_metric(item, "tokens_per_s"));
            table_put_number(&t, tally_metric(item, "peak_bytes"));
            table_put_number(&t, tally_metric(item, "val_ppl"));
        }
    }
    if (t.row_count) {
        text_add(&p->markdown, "## Stale results\n\n"
                               "Made by another worker build, on other data or another "
                               "machine than the newest ones: shown, but compared with "
                               "nothing. The next run makes them anew.\n\n");
        page_add_table(p, &t, "results");
    }
    table_finish(&t);
}

size_t hole_damaged(const struct tallies *o) {
    size_t count = 0;
    for (size_t i = 0; i < o->count; i++) {
        for (size_t a = 0; a < o->items[i].result->attempt_count; a++) {
            count += o->items[i].result->attempts[a].damage != NULL;
        }
    }
    return count;
}

static void add_damaged(struct page *p) {
    const struct tallies *o = p->tallies;
    size_t count = hole_damaged(o), left = count < PAGE_ROWS ? count : PAGE_ROWS;
    if (!count) {
        return;
    }
    text_add(&p->markdown, "## Damaged records\n\n"
                           "These could not be read; everything else here is untouched "
                           "by them.\n\n");
    for (size_t i = 0; i < o->count; i++) {
        for (size_t a = 0; a < o->items[i].result->attempt_count; a++) {
            const struct result_attempt *attempt = o->items[i].result->attempts + a;
            if (attempt->damage && left) {
                left--;
                text_add(&p->markdown, "- ");
                markdown_add_code(&p->markdown, attempt->folder);
                text_add(&p->markdown, ": ");
                markdown_add_text(&p->markdown, attempt->damage);
                text_add(&p->markdown, "\n");
            }
        }
    }
    if (count > PAGE_ROWS) {
        text_addf(&p->markdown, "- … and %zu more\n", count - PAGE_ROWS);
    }
    text_add(&p->markdown, "\n");
}

static void add_notes(struct page *p) {
    const struct tallies *o = p->tallies;
    size_t count = 0;
    for (size_t i = 0; i < o->count && count < PAGE_ROWS; i++) {
        if (o->items[i].note) {
            text_add(&p->markdown, count++ ? "" : "## Remarks on attempts\n\n");
            text_add(&p->markdown, "- ");
            markdown_add_code(&p->markdown, o->items[i].cell->id);
            text_add(&p->markdown, ": ");
            markdown_add_text(&p->markdown, o->items[i].note);
            text_add(&p->markdown, "\n");
        }
    }
    text_add(&p->markdown, count ? "\n" : "");
}

// Rows in this order, so that a page that shows the first ones only shows those that
// ask for something.
enum place { NOT_MET, AS_STATED, NOT_TRIED, NO_HOLE };

static enum place place_of(const struct tally *o) {
    if (o->status == STATUS_NOT_RUN || o->status == STATUS_EXCLUDED) {
        return NOT_TRIED;
    }
    bool met = tally_met_expectation(o);
    if (o->status == STATUS_OK && (met || o->cell->expect < 0)) {
        return NO_HOLE;
    }
    return met ? AS_STATED : NOT_MET;
}

bool hole_add(struct page *p, struct text *err) {
    const struct tallies *o = p->tallies;
    struct table t = {0};
    bool present[STATUS_COUNT] = {false};
    add_columns(&t);
    for (int place = NOT_MET; place < NO_HOLE; place++) {
        for (size_t i = 0; i < o->count; i++) {
            const struct tally *item = o->items + i;
            if ((int)place_of(item) == place) {
                add_row(&t, item);
                present[item->status] |= !tally_met_expectation(item);
            }
        }
    }
    // What ended ok asks for no remedy, only for a look.
    bool unexpected = present[STATUS_OK];
    present[STATUS_OK] = false;
    bool ok = page_add_csv(p, &t, "not_ok", err);
    if (ok && t.row_count) {
        text_add(&p->markdown, "## Cells that are not ok");
        text_add(&p->markdown, unexpected ? ", or ok against what is expected" : "");
        text_add(&p->markdown, "\n\n");
        page_add_table(p, &t, "not_ok");
        add_remedies(p, present);
    } else if (ok) {
        text_add(&p->markdown, "## Cells that are not ok\n\n"
                               "None: every planned cell ran and ended ok.\n\n");
    }
    if (ok) {
        add_stale(p);
        add_damaged(p);
        add_notes(p);
    }
    table_finish(&t);
    return ok;
}

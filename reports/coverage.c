#include "reports/coverage.h"

#include "reports/markdown.h"

#define NAMES_MOST 12 /* names in one enumeration */

static void add_counts(struct page *p) {
    const struct tallies *o = p->tallies;
    size_t by_status[STATUS_COUNT] = {0};
    size_t stale = 0;
    for (size_t i = 0; i < o->count; i++) {
        by_status[o->items[i].status]++;
        stale += o->items[i].stale != NULL;
    }
    human_plural(&p->markdown, o->count, "cell");
    const char *gap = ": ";
    for (int s = 0; s < STATUS_COUNT; s++) {
        if (by_status[s]) {
            text_add(&p->markdown, gap);
            human_number(&p->markdown, HUMAN_COUNT, (double)by_status[s]);
            text_add(&p->markdown, " ");
            markdown_add_text(&p->markdown, status_name((enum status)s));
            gap = ", ";
        }
    }
    if (stale) {
        text_addf(&p->markdown, "; %zu of the results %s stale and left out below",
                stale, stale == 1 ? "is" : "are");
    }
    text_add(&p->markdown, ".");
    size_t open = by_status[STATUS_NOT_RUN] + by_status[STATUS_INTERRUPTED] +
                  by_status[STATUS_LOST] + by_status[STATUS_PREEMPTED];
    if (open && by_status[STATUS_OK]) {
        text_add(&p->markdown, " The answer is of what ran so far.");
    }
    text_add(&p->markdown, "\n\n");
}

// A matrix that states what should happen is answered by whether it did.
static void add_expectations(struct page *p) {
    const struct tallies *o = p->tallies;
    size_t stated = 0;
    size_t exact = 0;
    size_t elsewhere = 0;
    struct text broken = {0};
    for (size_t i = 0; i < o->count; i++) {
        const struct tally *t = o->items + i;
        if (t->cell->expect < 0 || t->cell->excluded) {
            continue;
        }
        stated++;
        if ((int)t->status == t->cell->expect) {
            exact++;
        } else if (tally_met_expectation(t)) {
            elsewhere++;
        } else if (stated - exact - elsewhere <= NAMES_MOST) {
            text_add(&broken, broken.size ? ", " : "");
            markdown_add_code(&broken, t->cell->id);
            text_addf(&broken, " (%s)", status_name(t->status));
        }
    }
    if (stated) {
        text_addf(&p->markdown, "%zu of ", exact);
        human_plural(&p->markdown, stated, "cell");
        text_add(&p->markdown, " with a stated status ended in exactly that");
        if (elsewhere) {
            text_addf(&p->markdown, ", %zu %s unsupported on this machine", elsewhere,
                    elsewhere == 1 ? "is" : "are");
        }
        size_t others = stated - exact - elsewhere;
        if (others) {
            text_addf(&p->markdown, ", **%zu did not**: %s", others, text_get(&broken));
            text_add(&p->markdown, others > NAMES_MOST ? ", …" : "");
        }
        text_add(&p->markdown, ".\n\n");
    }
    text_finish(&broken);
}

void coverage_add(struct page *p) {
    add_counts(p);
    add_expectations(p);
}

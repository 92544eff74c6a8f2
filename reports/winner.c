#include "reports/winner.h"

#include <math.h>

#include "reports/markdown.h"
#include "reports/names.h"

#define NAMES_MOST 3 /* names in one enumeration */

static void add_name(struct text *out, const struct candidate *c) {
    markdown_add_code(out, c->first->cell->id);
    if (c->seeds > 1) {
        text_addf(out, " (mean of %zu seeds)", c->seeds);
    } else if (c->cells > 1) {
        text_addf(out, " (mean of %zu equal cells)", c->cells);
    }
}

// "12.3k tokens/s, 41.2 MiB, perplexity 5.12", without what is unknown.
static void add_figures(struct text *out, const struct candidate *c) {
    struct text figures = {0};
    human_phrase(&figures, "", HUMAN_SHORT, c->tps.value, " tokens/s");
    human_phrase(&figures, figures.size ? ", " : "", HUMAN_BYTES, c->peak_bytes,
            " at the peak");
    human_phrase(&figures,
            figures.size ? ", validation perplexity " : "validation perplexity ",
            HUMAN_REAL, c->ppl.value, "");
    text_add(out, text_get(&figures));
    text_finish(&figures);
}

// How far a candidate is from the best, for sorting: less is better.
static double rank_by(const struct candidate *c, candidate_ties ties) {
    return ties == candidate_ties_speed    ? -c->tps.value
           : ties == candidate_ties_memory ? c->peak_bytes
                                           : c->ppl.value;
}

// The candidate after `last` among those that tie with `winner`; NULL after all.
static const struct candidate *next_tie(const struct workload *w,
        const struct candidate *winner, const struct candidate *last,
        candidate_ties ties) {
    const struct candidate *next = NULL;
    for (size_t i = 0; i < w->count; i++) {
        const struct candidate *c = w->candidates + i;
        if (c == winner || !ties(c, winner)) {
            continue;
        }
        double x = rank_by(c, ties);
        bool after = !last || x > rank_by(last, ties) ||
                     (x == rank_by(last, ties) && c > last);
        if (after && (!next || x < rank_by(next, ties))) {
            next = c;
        }
    }
    return next;
}

// "`a`, `b` and 3 more": what ties with `winner`, the nearest first.
static size_t add_ties(struct text *out, const struct workload *w,
        const struct candidate *winner, candidate_ties ties) {
    struct names names = {.out = out, .most = NAMES_MOST};
    for (const struct candidate *c = NULL; (c = next_tie(w, winner, c, ties));) {
        if (names_next(&names)) {
            add_name(out, c);
        }
    }
    names_finish(&names);
    return names.count;
}

static bool is_baseline(const struct page *p, const struct candidate *c) {
    return p->tallies->baseline == c->first;
}

// NAN where the baseline does other work: then the ratio answers nothing.
static double against_baseline(
        const struct page *p, const struct candidate *c, const char *metric) {
    return tally_does_other_work(p->tallies, c->first) ? NAN
                                                       : tally_metric(c->first, metric);
}

static void add_tied(struct page *p, const struct workload *w,
        const struct candidate *winner, candidate_ties ties, const char *sentence) {
    struct text names = {0};
    if (add_ties(&names, w, winner, ties)) {
        text_addf(&p->markdown, " %s: %s.", sentence, text_get(&names));
    }
    text_finish(&names);
}

// The quickest of those that `c` leads by more than noise; NULL where there is none.
static const struct candidate *next_rival(
        const struct workload *w, const struct candidate *c) {
    const struct candidate *next = NULL;
    for (size_t i = 0; i < w->count; i++) {
        const struct candidate *other = w->candidates + i;
        if (other != c && isfinite(other->tps.value) &&
                !candidate_ties_speed(other, c) &&
                (!next || other->tps.value > next->tps.value)) {
            next = other;
        }
    }
    return next;
}

// A lead beyond noise over the next one that drift might explain all the same.
static void add_drift(
        struct page *p, const struct workload *w, const struct candidate *c) {
    const struct candidate *next = next_rival(w, c);
    if (!next || !candidate_may_drift(next, c)) {
        return;
    }
    bool both = next->attempts < 2 && c->attempts < 2;
    text_add(&p->markdown, " Its lead over the next, ");
    add_name(&p->markdown, next);
    text_addf(&p->markdown, ", rests on %s: not told from drift.",
            both ? "single attempts" : "a single attempt");
}

static void add_fastest(struct page *p, const struct workload *w) {
    const struct candidate *c = w->fastest;
    text_add(&p->markdown, "- **Fastest**: ");
    add_name(&p->markdown, c);
    text_add(&p->markdown, ", ");
    add_figures(&p->markdown, c);
    if (is_baseline(p, c)) {
        text_add(&p->markdown, "; it is the baseline itself");
    } else {
        human_phrase(&p->markdown, "; ", HUMAN_RATIO, against_baseline(p, c, "speedup"),
                " the baseline's speed");
    }
    text_add(&p->markdown, ".");
    add_tied(p, w, c, candidate_ties_speed, "Within noise of it");
    add_drift(p, w, c);
    text_add(&p->markdown, "\n");
}

static void add_leanest(struct page *p, const struct workload *w) {
    const struct candidate *c = w->leanest;
    text_add(&p->markdown, "- **Leanest**: ");
    if (c == w->fastest) {
        text_add(&p->markdown, "the same cell");
    } else {
        add_name(&p->markdown, c);
        text_add(&p->markdown, ", ");
        add_figures(&p->markdown, c);
        if (w->fastest) {
            human_phrase(&p->markdown, "; ", HUMAN_PERCENT,
                    100 * stats_ratio(c->tps.value, w->fastest->tps.value),
                    " of the fastest's speed");
        }
    }
    if (is_baseline(p, c)) {
        text_add(&p->markdown, "; it is the baseline itself");
    } else {
        human_phrase(&p->markdown, "; ", HUMAN_CHANGE,
                -against_baseline(p, c, "memory_saving_pct"),
                " memory against the baseline");
    }
    text_add(&p->markdown, ".");
    add_tied(p, w, c, candidate_ties_memory, "As lean");
    text_add(&p->markdown, "\n");
}

static void add_best(struct page *p, const struct workload *w) {
    const struct candidate *c = w->best;
    size_t others = 0;
    for (size_t i = 0; i < w->count; i++) {
        others += isfinite(w->candidates[i].ppl.value);
    }
    struct text names = {0};
    size_t tied = add_ties(&names, w, c, candidate_ties_quality);
    text_add(&p->markdown, "- **Best quality**: ");
    if (others > 2 && tied + 1 == others) {
        text_add(&p->markdown, "no technique costs quality: none is told apart from "
                               "validation perplexity ");
        human_number(&p->markdown, HUMAN_REAL, c->ppl.value);
        text_add(&p->markdown, ".\n");
    } else {
        add_name(&p->markdown, c);
        text_add(&p->markdown, ", ");
        add_figures(&p->markdown, c);
        text_add(&p->markdown, ".");
        if (tied) {
            text_addf(&p->markdown, " Not told apart from it: %s.", text_get(&names));
        }
        text_add(&p->markdown, "\n");
    }
    text_finish(&names);
}

static void add_balanced(struct page *p, const struct workload *w) {
    const struct candidate *c = w->balanced;
    text_add(&p->markdown, "- **Both**: ");
    add_name(&p->markdown, c);
    text_add(&p->markdown, " runs at ");
    human_number(&p->markdown, HUMAN_PERCENT,
            100 * stats_ratio(c->tps.value, w->fastest->tps.value));
    text_add(&p->markdown, " of the fastest's speed in ");
    human_number(&p->markdown, HUMAN_PERCENT,
            100 * stats_ratio(c->peak_bytes, w->fastest->peak_bytes));
    text_add(&p->markdown, " of its memory (");
    add_figures(&p->markdown, c);
    text_add(&p->markdown, ").\n");
}

static void add_only(struct page *p, const struct candidate *c) {
    text_add(&p->markdown, "- ");
    add_name(&p->markdown, c);
    text_add(&p->markdown, ": ");
    add_figures(&p->markdown, c);
    text_add(&p->markdown, "; nothing to rank it against.\n");
}

void winner_add(struct page *p, const struct workload *w) {
    if (w->count == 1) {
        add_only(p, w->candidates);
        text_add(&p->markdown, "\n");
        return;
    }
    if (w->fastest) {
        add_fastest(p, w);
    }
    if (w->leanest) {
        add_leanest(p, w);
    }
    if (w->best) {
        add_best(p, w);
    }
    if (w->balanced) {
        add_balanced(p, w);
    }
    text_add(&p->markdown, "\n");
}

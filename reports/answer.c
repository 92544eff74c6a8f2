/* The answer to the matrix's question, before anything else: which technique for which
 * situation, by how much, and what is only noise. */
#include <math.h>
#include <stdlib.h>

#include "reports/choice.h"
#include "reports/coverage.h"
#include "reports/engine.h"
#include "reports/markdown.h"
#include "reports/page.h"
#include "reports/recommendation.h"
#include "reports/winner.h"

static size_t most_candidates(const struct page *p) {
    size_t most = 0;
    for (size_t i = 0; i < p->candidates->workload_count; i++) {
        size_t count = p->candidates->workloads[i].count;
        most = count > most ? count : most;
    }
    return most;
}

// A few workloads in words, many summed up, and none where there is no choice.
static void add_recommendations(struct page *p, const struct table *t, bool in_words) {
    const struct candidates *c = p->candidates;
    if (c->workload_count == 1) {
        winner_add(p, c->workloads);
    } else if (most_candidates(p) == 1) {
        text_add(&p->markdown, "No two cells do the same work by different techniques, "
                               "so none is ranked against another; what the "
                               "parameters change is below.\n\n");
    } else if (in_words) {
        for (size_t i = 0; i < c->workload_count; i++) {
            text_add(&p->markdown, "With ");
            markdown_add_code(&p->markdown, table_at(t, i, 0)->text);
            text_add(&p->markdown, ":\n\n");
            winner_add(p, c->workloads + i);
        }
    } else {
        recommendation_add_wins(p);
    }
}

// The value to tell of: for a technique the one that gains most, else the last one.
static const struct choice_value *telling_value(const struct choice *c) {
    const struct choice_value *best = NULL;
    bool technique = context_is_technique(c->axis);
    for (size_t i = 0; i < c->value_count; i++) {
        const struct choice_value *v = c->values + i;
        if (i != c->reference && v->pairs && v->speed.count &&
                (!best || !technique || v->speed.median > best->speed.median)) {
            best = v;
        }
    }
    return best;
}

// What a parameter changes, in one line.
static void add_choice(struct page *p, enum param axis) {
    struct choice c;
    choice_init(&c, p->tallies, axis);
    const struct choice_value *best = telling_value(&c);
    if (best) {
        struct text value = {0};
        struct text verdict = {0}, with = {0};
        context_show_value(best->params, axis, &value);
        text_add(&p->markdown, "- ");
        markdown_add_code(&p->markdown, axes_get(axis)->name);
        choice_show_with(&c, &with);
        text_addf(&p->markdown, "%s%s: ", with.size ? " together with " : "",
                text_get(&with));
        markdown_add_code(&p->markdown, text_get(&value));
        text_clear(&value);
        context_show_value(c.values[c.reference].params, axis, &value);
        human_phrase(&p->markdown, " runs at ", HUMAN_RATIO, best->speed.median,
                " the speed of ");
        markdown_add_code(&p->markdown, text_get(&value));
        choice_verdict(best, &verdict);
        text_addf(&p->markdown, " (%s; ", text_get(&verdict));
        human_plural(&p->markdown, best->pairs, "like pair");
        if (best->pairs > 1) {
            text_add(&p->markdown, ", ");
            human_range(&p->markdown, HUMAN_RATIO, best->speed.minimum,
                    best->speed.maximum);
        }
        text_add(&p->markdown, ")");
        human_phrase(
                &p->markdown, ", in ", HUMAN_RATIO, best->memory.median, " its memory");
        human_phrase(&p->markdown, ", at ", HUMAN_RATIO, best->ppl.median,
                " its perplexity");
        text_add(&p->markdown, ".\n");
        text_finish(&value);
        text_finish(&verdict);
        text_finish(&with);
    }
    choice_finish(&c);
}

static void add_choices(struct page *p) {
    size_t before = p->markdown.size;
    text_add(&p->markdown, "What each choice changes, all else equal:\n\n");
    size_t heading = p->markdown.size;
    for (int i = 0; i < PARAM_COUNT; i++) {
        // Seeds are chance and no choice; ranks have a line of their own.
        if (p->tallies->varies.has[i] && i != PARAM_SEED && i != PARAM_RANKS &&
                choice_leader(p->tallies, (enum param)i) == (enum param)i) {
            add_choice(p, (enum param)i);
        }
    }
    if (p->markdown.size == heading) {
        p->markdown.size = before;
        p->markdown.data[before] = '\0';
    } else {
        text_add(&p->markdown, "\n");
    }
}

/* What cells must share to be ranked by efficiency: each engine has a base of its own,
 * and strong scaling is another question than weak. */
struct series {
    int64_t ranks, engine;
    bool strong;
};

static struct series series_of(const struct tally *t) {
    const struct params *p = &t->cell->params;
    return (struct series){params_integer(p, PARAM_RANKS),
            params_integer(p, PARAM_ENGINE), context_is_strong(p)};
}

static int series_compare(const struct series *a, const struct series *b) {
    if (a->ranks != b->ranks) {
        return a->ranks < b->ranks ? -1 : 1;
    }
    if (a->engine != b->engine) {
        return a->engine < b->engine ? -1 : 1;
    }
    return a->strong - b->strong;
}

/* The most efficient cell of the least series beyond `last`; NULL after the last. */
static const struct tally *next_best(const struct tallies *o, struct series last) {
    const struct tally *best = NULL;
    for (size_t i = 0; i < o->count; i++) {
        const struct tally *t = o->items + i;
        struct series s = series_of(t);
        if (!t->scaling_base || series_compare(&s, &last) <= 0) {
            continue;
        }
        struct series b = best ? series_of(best) : s;
        int order = best ? series_compare(&s, &b) : -1;
        if (order < 0 ||
                (order == 0 && tally_metric(t, "scaling_efficiency") >
                                       tally_metric(best, "scaling_efficiency"))) {
            best = t;
        }
    }
    return best;
}

// A single attempt is the luckier the more cells it was the best of.
static bool is_lone(const struct tallies *o, const struct tally *best) {
    const struct series own = series_of(best);
    for (size_t i = 0; best->ok_count == 1 && i < o->count; i++) {
        const struct tally *t = o->items + i;
        const struct series s = series_of(t);
        if (t->scaling_base && t->ok_count > 1 && !series_compare(&s, &own)) {
            return true;
        }
    }
    return false;
}

// The most efficient cell of each number of ranks, engine and kind of scaling.
static void add_scaling(struct page *p) {
    const struct tallies *o = p->tallies;
    struct series last = {.ranks = 1, .engine = INT64_MAX};
    const struct tally *best;
    size_t lines = 0;
    for (; (best = next_best(o, last)); lines++) {
        last = series_of(best);
        text_addf(&p->markdown, "- **Scaling to %lld ranks**", (long long)last.ranks);
        if (o->varies.has[PARAM_ENGINE]) {
            text_add(&p->markdown, " with ");
            markdown_add_code(
                    &p->markdown, params_choice(&best->cell->params, PARAM_ENGINE));
        }
        double efficiency = tally_metric(best, "scaling_efficiency");
        human_phrase(&p->markdown, ": at best ", HUMAN_PERCENT, 100 * efficiency, "");
        bool shares = params_integer(&best->cell->params, PARAM_DDP) == DDP_SHARDED;
        text_addf(&p->markdown, " efficiency (%s%s%s), ", best->scaling,
                efficiency <= 1 ? ""
                : shares        ? "; above 100 %: its ranks share the optimizer out"
                         : "; above 100 %: a slow one-rank cell, or noise, flatters",
                is_lone(o, best) ? "; in one attempt, where others have more" : "");
        markdown_add_code(&p->markdown, best->cell->id);
        // A rank with a share of the batch saves by that alone, whatever the wrapper.
        double more = last.strong ? NAN : tally_metric(best, "memory_overhead_bytes");
        if (more == 0) {
            text_add(&p->markdown, ", with no more memory a rank");
        }
        human_phrase(&p->markdown, ", with ", HUMAN_BYTES, more == 0 ? NAN : fabs(more),
                more < 0 ? " less a rank" : " more a rank");
        text_add(&p->markdown, ".\n");
    }
    text_add(&p->markdown, lines ? "\n" : "");
}

static bool has_single_attempts(const struct page *p) {
    for (size_t i = 0; i < p->candidates->count; i++) {
        if (p->candidates->items[i].attempts == 1) {
            return p->candidates->count > 1;
        }
    }
    return false;
}

// What it takes to tell more than was told.
static void add_advice(struct page *p) {
    if (has_single_attempts(p)) {
        text_add(&p->markdown, "Cells that ran once are not told from the machine's "
                               "drift between them; `--repeats 3` tells more.\n\n");
    }
}

bool answer_add(struct page *p, struct text *err) {
    text_add(&p->markdown, "## Answer\n\n");
    coverage_add(p);
    if (!p->candidates->count) {
        size_t ok = 0;
        for (size_t i = 0; i < p->tallies->count; i++) {
            ok += tally_counts(p->tallies->items + i);
        }
        if (allreduce_answer(p)) {
            return true;
        }
        text_add(&p->markdown,
                ok ? "No cell measured a speed or a perplexity, so nothing is ranked."
                     "\n\n"
                   : "No cell has a fresh result that is ok, so there is no answer "
                     "yet.\n\n");
        return true;
    }
    bool timings = tallies_are_timings(p->tallies);
    bool warned = timings && trust_add(p);
    const size_t few = 3;
    bool in_words = p->candidates->workload_count <= few;
    struct table t = {0};
    recommendation_fill(p, 1, &t);
    add_recommendations(p, &t, in_words);
    engine_answer(p);
    add_scaling(p);
    allreduce_answer(p);
    add_choices(p);
    if (timings && !warned) {
        add_advice(p);
    }
    if (!in_words && most_candidates(p) > 1) {
        text_add(&p->markdown, "Cells are ranked only against cells that do the same "
                               "work:\n\n");
        struct table ranked = {0};
        recommendation_fill(p, 2, &ranked);
        page_add_table(p, &ranked, "recommendations");
        text_add(&p->markdown,
                table_is_noted(&ranked, PAGE_ROWS) ? RECOMMENDATION_NOTE "\n\n" : "");
        table_finish(&ranked);
    }
    bool ok = page_add_csv(p, &t, "recommendations", err);
    table_finish(&t);
    return ok;
}

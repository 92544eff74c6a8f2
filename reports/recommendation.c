#include "reports/recommendation.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "reports/choice.h"
#include "reports/markdown.h"
#include "reports/names.h"

#define NAMES_MOST 12 /* names in one enumeration */

// What differs between candidates.
static struct context differences(const struct page *p) {
    struct context c = {0};
    const struct candidates *all = p->candidates;
    for (size_t i = 1; i < all->count; i++) {
        context_add_differences(&c, &all->items[0].first->cell->params,
                &all->items[i].first->cell->params);
    }
    return c;
}

struct context recommendation_workloads(const struct page *p) {
    struct context c = differences(p);
    for (int i = 0; i < PARAM_COUNT; i++) {
        c.has[i] = c.has[i] && !context_is_technique((enum param)i) && i != PARAM_SEED;
    }
    choice_drop_followers(p->tallies, &c);
    return c;
}

enum prize { FASTEST, LEANEST, BEST };

static const struct candidate *winner(const struct workload *w, enum prize prize) {
    return prize == FASTEST ? w->fastest : prize == LEANEST ? w->leanest : w->best;
}

// How many others are as good as `c`, as far as can be told.
static size_t count_ties(
        const struct workload *w, const struct candidate *c, enum prize prize) {
    return candidate_count_ties(w, c,
            prize == FASTEST   ? candidate_ties_speed
            : prize == LEANEST ? candidate_ties_memory
                               : candidate_ties_quality);
}

static void add_columns(struct table *t) {
    table_add_code(t, "workload", "workload");
    table_add_number(t, "techniques", "techniques", HUMAN_COUNT);
    table_add_code(t, "fastest", "fastest");
    table_add_number(t, "fastest_tokens_per_s", "tokens/s", HUMAN_SHORT);
    table_add_number(t, "fastest_ties", "ties", HUMAN_COUNT);
    table_show_last(t, TABLE_CSV_ONLY);
    table_add_code(t, "leanest", "leanest");
    table_add_number(t, "leanest_peak_bytes", "peak memory", HUMAN_BYTES);
    table_add_number(t, "leanest_ties", "ties", HUMAN_COUNT);
    table_show_last(t, TABLE_CSV_ONLY);
    table_add_code(t, "best_quality", "best quality");
    table_add_number(t, "best_val_ppl", "val. perplexity", HUMAN_REAL);
    table_add_number(t, "best_ties", "ties", HUMAN_COUNT);
    table_show_last(t, TABLE_CSV_ONLY);
}

// The first of those that tie gives the figure, and a sign that it is not alone.
static void put_winner(struct table *t, const struct workload *w, enum prize prize) {
    const struct candidate *c = winner(w, prize);
    if (!c) {
        table_put_text(t, "");
        table_put_number(t, NAN);
        table_put_number(t, NAN);
        return;
    }
    size_t ties = count_ties(w, c, prize);
    table_put_text(t, c->first->cell->id);
    table_put_number(t, prize == FASTEST   ? c->tps.value
                        : prize == LEANEST ? c->peak_bytes
                                           : c->ppl.value);
    if (ties) {
        table_mark_noted(t);
    }
    table_put_number(t, (double)ties);
}

void recommendation_fill(const struct page *p, size_t least, struct table *t) {
    struct context which = recommendation_workloads(p);
    struct text name = {0};
    add_columns(t);
    for (size_t i = 0; i < p->candidates->workload_count; i++) {
        const struct workload *w = p->candidates->workloads + i;
        if (w->count < least) {
            continue;
        }
        text_clear(&name);
        context_show(&w->candidates[0].first->cell->params, &which, &name);
        table_row(t);
        table_put_text(t, text_get(&name));
        table_put_number(t, (double)w->count);
        put_winner(t, w, FASTEST);
        put_winner(t, w, LEANEST);
        put_winner(t, w, BEST);
    }
    text_finish(&name);
}

// Who wins a workload alone; NULL where nobody does.
static const struct candidate *sole_winner(const struct workload *w, enum prize prize) {
    const struct candidate *c = w->count > 1 ? winner(w, prize) : NULL;
    return c && !count_ties(w, c, prize) ? c : NULL;
}

// What a prize came to over the workloads in which there was a choice.
struct wins {
    char **names; /* of the techniques that win one alone, sorted */
    size_t count;
    size_t tied; /* workloads that nobody wins alone */
};

// The techniques of a workload's winner, as far as candidates differ in them.
static void add_technique(
        const struct page *p, const struct candidate *c, struct text *out) {
    struct context which = differences(p);
    for (int i = 0; i < PARAM_COUNT; i++) {
        which.has[i] = which.has[i] && context_is_technique((enum param)i);
    }
    context_show(&c->first->cell->params, &which, out);
}

static int by_text(const void *a, const void *b) {
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static struct wins count_wins(const struct page *p, enum prize prize) {
    const struct candidates *all = p->candidates;
    struct wins wins = {
            .names = text_allocate(all->workload_count * sizeof *wins.names)};
    for (size_t i = 0; i < all->workload_count; i++) {
        const struct workload *w = all->workloads + i;
        const struct candidate *c = sole_winner(w, prize);
        if (c) {
            struct text name = {0};
            add_technique(p, c, &name);
            wins.names[wins.count++] = text_take(&name);
        } else {
            wins.tied += w->count > 1 && winner(w, prize);
        }
    }
    qsort(wins.names, wins.count, sizeof *wins.names, by_text);
    return wins;
}

static void finish_wins(struct wins *wins) {
    for (size_t i = 0; i < wins->count; i++) {
        free(wins->names[i]);
    }
    free(wins->names);
}

// How many times in a row the name at `start` stands there.
static size_t run_at(const struct wins *wins, size_t start) {
    size_t end = start + 1;
    while (end < wins->count && strcmp(wins->names[start], wins->names[end]) == 0) {
        end++;
    }
    return end - start;
}

static size_t most_wins(const struct wins *wins) {
    size_t most = 0;
    for (size_t i = 0, run; i < wins->count; i += run) {
        run = run_at(wins, i);
        most = run > most ? run : most;
    }
    return most;
}

// "`a/kernel=flash` with `batch=1`, `a/kernel=fused` with `batch=2`": the cells
// themselves, where no technique wins twice.
static void add_each_win(struct page *p, enum prize prize) {
    struct context which = recommendation_workloads(p);
    struct text name = {0};
    struct names names = {.out = &p->markdown, .most = NAMES_MOST};
    for (size_t i = 0; i < p->candidates->workload_count; i++) {
        const struct workload *w = p->candidates->workloads + i;
        const struct candidate *c = sole_winner(w, prize);
        if (!c || !names_next(&names)) {
            continue;
        }
        markdown_add_code(&p->markdown, c->first->cell->id);
        text_clear(&name);
        context_show(&c->first->cell->params, &which, &name);
        text_add(&p->markdown, name.size ? " with " : "");
        markdown_add_code(&p->markdown, text_get(&name));
    }
    names_finish(&names);
    text_finish(&name);
}

// "`kernel=flash`, in 3 of 6 workloads"; "`kernel=flash`, `kernel=fused`, in 2 of 6
// workloads each", where several win as often.
static void add_most_wins(struct page *p, const struct wins *wins, size_t most) {
    struct names names = {.out = &p->markdown, .most = NAMES_MOST};
    for (size_t i = 0, run; i < wins->count; i += run) {
        run = run_at(wins, i);
        if (run == most && names_next(&names)) {
            markdown_add_code(&p->markdown, wins->names[i]);
        }
    }
    names_finish(&names);
    text_addf(&p->markdown, ", in %zu of ", most);
    human_plural(&p->markdown, wins->count + wins->tied, "workload");
    text_add(&p->markdown, names.count > 1 ? " each" : "");
}

// "- **Fastest** most often: `kernel=flash`, in 4 of 6 workloads; a tie in 2."
static void add_wins(struct page *p, const char *what, enum prize prize) {
    struct wins wins = count_wins(p, prize);
    size_t most = most_wins(&wins);
    if (wins.count || wins.tied) {
        text_addf(&p->markdown, "- **%s**%s: ", what, most > 1 ? " most often" : "");
        if (most > 1) {
            add_most_wins(p, &wins, most);
        } else if (most) {
            add_each_win(p, prize);
        }
        if (wins.tied && most > 1) {
            text_addf(&p->markdown, "; a tie in %zu", wins.tied);
        } else if (wins.tied) {
            text_addf(&p->markdown, "%sa tie in %zu of ", most ? "; " : "", wins.tied);
            human_plural(&p->markdown, wins.count + wins.tied, "workload");
        }
        text_add(&p->markdown, ".\n");
    }
    finish_wins(&wins);
}

void recommendation_add_wins(struct page *p) {
    add_wins(p, "Fastest", FASTEST);
    add_wins(p, "Leanest", LEANEST);
    add_wins(p, "Best quality", BEST);
    text_add(&p->markdown, "\n");
}

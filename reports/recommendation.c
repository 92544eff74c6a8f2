#include "reports/recommendation.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "reports/choice.h"
#include "reports/markdown.h"

#define NAMES_MOST 12 /* names in one enumeration */

// What a workload is told by: what differs between candidates and is no technique.
static struct context workload_context(const struct page *p) {
    struct context c = {0};
    const struct candidates *all = p->candidates;
    for (size_t i = 1; i < all->count; i++) {
        context_add_differences(&c, &all->items[0].first->cell->params,
                &all->items[i].first->cell->params);
    }
    for (int i = 0; i < PARAM_COUNT; i++) {
        c.has[i] = c.has[i] && !context_is_technique((enum param)i) && i != PARAM_SEED;
    }
    choice_drop_followers(p->tallies, &c);
    return c;
}

static const char *id_of(const struct candidate *c) {
    return c ? c->first->cell->id : "";
}

void recommendation_fill(const struct page *p, size_t least, struct table *t) {
    struct context which = workload_context(p);
    table_add_code(t, "workload", "workload");
    table_add_number(t, "techniques", "techniques", HUMAN_COUNT);
    table_add_code(t, "fastest", "fastest");
    table_add_number(t, "fastest_tokens_per_s", "tokens/s", HUMAN_SHORT);
    table_add_code(t, "leanest", "leanest");
    table_add_number(t, "leanest_peak_bytes", "peak memory", HUMAN_BYTES);
    table_add_code(t, "best_quality", "best quality");
    table_add_number(t, "best_val_ppl", "val. perplexity", HUMAN_REAL);
    struct text name = {0};
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
        table_put_text(t, id_of(w->fastest));
        table_put_number(t, w->fastest ? w->fastest->tps.value : NAN);
        table_put_text(t, id_of(w->leanest));
        table_put_number(t, w->leanest ? w->leanest->peak_bytes : NAN);
        table_put_text(t, id_of(w->best));
        table_put_number(t, w->best ? w->best->ppl.value : NAN);
    }
    text_finish(&name);
}

enum prize { FASTEST, LEANEST, BEST };

static const struct candidate *winner(const struct workload *w, enum prize prize) {
    return prize == FASTEST ? w->fastest : prize == LEANEST ? w->leanest : w->best;
}

// The techniques of a workload's winner, as far as candidates differ in them.
static void add_technique(
        const struct page *p, const struct candidate *c, struct text *out) {
    struct context which = {0};
    const struct candidates *all = p->candidates;
    for (size_t i = 1; i < all->count; i++) {
        context_add_differences(&which, &all->items[0].first->cell->params,
                &all->items[i].first->cell->params);
    }
    for (int i = 0; i < PARAM_COUNT; i++) {
        which.has[i] = which.has[i] && context_is_technique((enum param)i);
    }
    context_show(&c->first->cell->params, &which, out);
}

static int by_text(const void *a, const void *b) {
    return strcmp(*(char *const *)a, *(char *const *)b);
}

// "- **Fastest**: `a/kernel=flash` with `batch=1`, `a/kernel=fused` with `batch=2`.":
// the cells themselves, where no technique wins twice.
static void add_each_win(struct page *p, const char *what, enum prize prize) {
    struct context which = workload_context(p);
    struct text name = {0};
    size_t count = 0;
    text_addf(&p->markdown, "- **%s**: ", what);
    for (size_t i = 0; i < p->candidates->workload_count; i++) {
        const struct workload *w = p->candidates->workloads + i;
        const struct candidate *c = w->count > 1 ? winner(w, prize) : NULL;
        if (!c || count++ >= NAMES_MOST) {
            continue;
        }
        text_add(&p->markdown, count > 1 ? ", " : "");
        markdown_add_code(&p->markdown, c->first->cell->id);
        text_clear(&name);
        context_show(&c->first->cell->params, &which, &name);
        text_add(&p->markdown, name.size ? " with " : "");
        markdown_add_code(&p->markdown, text_get(&name));
    }
    if (count > NAMES_MOST) {
        text_addf(&p->markdown, ", and %zu more below", count - NAMES_MOST);
    }
    text_add(&p->markdown, ".\n");
    text_finish(&name);
}

// "- **Fastest** most often: `kernel=flash`, in 5 of 6 workloads." Only workloads in
// which there was a choice count.
static void add_most_wins(struct page *p, const char *what, enum prize prize) {
    const struct candidates *all = p->candidates;
    char **names = text_allocate(all->workload_count * sizeof *names);
    size_t count = 0;
    for (size_t i = 0; i < all->workload_count; i++) {
        const struct workload *w = all->workloads + i;
        if (w->count > 1 && winner(w, prize)) {
            struct text name = {0};
            add_technique(p, winner(w, prize), &name);
            names[count++] = text_take(&name);
        }
    }
    qsort(names, count, sizeof *names, by_text);
    size_t most = 0;
    const char *best = NULL;
    for (size_t i = 0, run = 0; i < count; i++) {
        run = i && strcmp(names[i], names[i - 1]) == 0 ? run + 1 : 1;
        if (run > most) {
            most = run;
            best = names[i];
        }
    }
    if (count && most < 2) {
        add_each_win(p, what, prize);
    } else if (best) {
        text_addf(&p->markdown, "- **%s** most often: ", what);
        markdown_add_code(&p->markdown, best);
        text_addf(&p->markdown, ", in %zu of ", most);
        human_plural(&p->markdown, count, "workload");
        text_add(&p->markdown, ".\n");
    }
    for (size_t i = 0; i < count; i++) {
        free(names[i]);
    }
    free(names);
}

void recommendation_add_wins(struct page *p) {
    add_most_wins(p, "Fastest", FASTEST);
    add_most_wins(p, "Leanest", LEANEST);
    add_most_wins(p, "Best quality", BEST);
    text_add(&p->markdown, "\n");
}

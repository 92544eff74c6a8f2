#include "reports/engine.h"

#include <math.h>
#include <stdlib.h>

#include "matrix/axes.h"
#include "reports/markdown.h"
#include "reports/recommendation.h"

// What an engine comes to in a workload; NULL where nothing of it is known.
struct best {
    const struct candidate *fastest, *leanest;
};

static const char *name_of(int engine) {
    return axes_get(PARAM_ENGINE)->choices[engine];
}

static int engine_of(const struct candidate *c) {
    return (int)params_integer(&c->first->cell->params, PARAM_ENGINE);
}

static struct best best_of(const struct workload *w, int engine) {
    struct best b = {0};
    for (size_t i = 0; i < w->count; i++) {
        const struct candidate *c = w->candidates + i;
        if (engine_of(c) == engine) {
            b.fastest = candidate_is_faster(c, b.fastest) ? c : b.fastest;
            b.leanest = candidate_is_leaner(c, b.leanest) ? c : b.leanest;
        }
    }
    return b;
}

/* -- in words ------------------------------------------------------------------------
 */

// One engine against another, over the workloads in which both are known.
struct pair {
    struct stats speed, memory; // ratios
    bool may_drift;
};

static struct pair compare(const struct candidates *all, int a, int b) {
    struct pair pair = {0};
    double *speed = text_allocate(2 * (all->workload_count + 1) * sizeof *speed);
    double *memory = speed + all->workload_count;
    for (size_t i = 0; i < all->workload_count; i++) {
        struct best x = best_of(all->workloads + i, a);
        struct best y = best_of(all->workloads + i, b);
        speed[i] = memory[i] = NAN;
        if (x.fastest && y.fastest) {
            speed[i] = stats_ratio(x.fastest->tps.value, y.fastest->tps.value);
            pair.may_drift |= candidate_may_drift(x.fastest, y.fastest);
        }
        if (x.leanest && y.leanest) {
            memory[i] = stats_ratio(x.leanest->peak_bytes, y.leanest->peak_bytes);
        }
    }
    pair.speed = stats_of(speed, all->workload_count);
    pair.memory = stats_of(memory, all->workload_count);
    free(speed);
    return pair;
}

// " (0.96× to 1.30×, 7 workloads)", "" of a single one.
static void add_extent(struct text *out, const struct stats *s) {
    if (s->count > 1) {
        human_phrase(out, " (", HUMAN_RATIO, s->minimum, " to ");
        human_phrase(out, "", HUMAN_RATIO, s->maximum, ", ");
        human_plural(out, s->count, "workload");
        text_add(out, ")");
    }
}

static void add_pair(struct text *out, const struct pair *pair, int other) {
    human_phrase(out, " at its fastest runs at ", HUMAN_RATIO, pair->speed.median, "");
    text_add(out, " the speed of ");
    markdown_add_code(out, name_of(other));
    text_add(out, " at its");
    add_extent(out, &pair->speed);
    if (pair->memory.count) {
        human_phrase(out, ", at its leanest in ", HUMAN_RATIO, pair->memory.median,
                " the memory");
        add_extent(out, &pair->memory);
    }
    text_add(
            out, pair->may_drift ? "; single attempts: not told from drift.\n" : ".\n");
}

void engine_answer(struct page *p) {
    const struct candidates *all = p->candidates;
    bool said = false;
    for (int first = 0; first < ENGINE_COUNT && !said; first++) {
        for (int e = first + 1; e < ENGINE_COUNT; e++) {
            struct pair pair = compare(all, first, e);
            if (pair.speed.count) {
                text_add(&p->markdown, "- **Engines**: ");
                markdown_add_code(&p->markdown, name_of(first));
                add_pair(&p->markdown, &pair, e);
                said = true;
            }
        }
    }
    text_add(&p->markdown, said ? "\n" : "");
}

/* -- as a table ----------------------------------------------------------------------
 */

static void add_columns(struct table *t) {
    table_add_code(t, "workload", "workload");
    table_add_code(t, "engine", "engine");
    table_add_code(t, "fastest", "fastest");
    table_add_number(t, "tokens_per_s", "tokens/s", HUMAN_SHORT);
    table_add_code(t, "leanest", "leanest");
    table_add_number(t, "peak_bytes", "peak memory", HUMAN_BYTES);
}

// Whether nothing of the other engines is ahead of `c`, or cannot be told from it.
static bool is_ahead(const struct workload *w, const struct candidate *c,
        bool (*is_ahead_of)(const struct candidate *, const struct candidate *),
        candidate_ties ties) {
    for (size_t i = 0; i < w->count; i++) {
        const struct candidate *other = w->candidates + i;
        if (engine_of(other) != engine_of(c) &&
                (is_ahead_of(other, c) || ties(other, c))) {
            return false;
        }
    }
    return true;
}

static void put(struct table *t, const struct candidate *c, double value, bool best) {
    table_put_text(t, c ? c->first->cell->id : "");
    table_put_number(t, value);
    if (best) {
        table_mark_best(t);
    }
}

static void add_row(struct table *t, const char *name, const struct workload *w,
        int engine, struct best b) {
    table_row(t);
    table_put_text(t, name);
    table_put_text(t, name_of(engine));
    put(t, b.fastest, b.fastest ? b.fastest->tps.value : NAN,
            b.fastest &&
                    is_ahead(w, b.fastest, candidate_is_faster, candidate_ties_speed));
    put(t, b.leanest, b.leanest ? b.leanest->peak_bytes : NAN,
            b.leanest &&
                    is_ahead(w, b.leanest, candidate_is_leaner, candidate_ties_memory));
}

static int count_engines(const struct workload *w) {
    int count = 0;
    for (int e = 0; e < ENGINE_COUNT; e++) {
        count += best_of(w, e).fastest != NULL;
    }
    return count;
}

static void fill(struct table *t, const struct page *p) {
    struct context which = recommendation_workloads(p);
    struct text name = {0};
    add_columns(t);
    for (size_t i = 0; i < p->candidates->workload_count; i++) {
        const struct workload *w = p->candidates->workloads + i;
        if (count_engines(w) < 2) {
            continue;
        }
        text_clear(&name);
        context_show(&w->candidates[0].first->cell->params, &which, &name);
        for (int e = 0; e < ENGINE_COUNT; e++) {
            struct best b = best_of(w, e);
            if (b.fastest) {
                add_row(t, text_get(&name), w, e, b);
            }
        }
    }
    text_finish(&name);
}

bool engine_add(struct page *p, struct text *err) {
    struct table t = {0};
    bool ok = true;
    fill(&t, p);
    if (t.row_count) {
        text_add(&p->markdown,
                "## Engines\n\n"
                "Each engine's fastest cell of a workload, and its leanest. Whatever "
                "is "
                "a technique may differ between them: kernel, precision, window, "
                "determinism. Bold is ahead of all that other engines have.\n\n");
        page_add_table(p, &t, "engines");
        ok = page_add_csv(p, &t, "engines", err);
    }
    table_finish(&t);
    return ok;
}

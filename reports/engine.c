#include "reports/engine.h"

#include <math.h>
#include <stdlib.h>

#include "matrix/axes.h"
#include "reports/markdown.h"
#include "reports/recommendation.h"

enum { ENGINE_COUNT = ENGINE_TORCH_COMPILE + 1 };

// What an engine comes to in a workload; NULL where nothing of it is known.
struct best {
    const struct candidate *fastest, *leanest;
};

// The workloads that have two engines or more, and the engines that they have.
struct engines {
    const struct workload **shared; // owned
    size_t count;
    bool has[ENGINE_COUNT];
};

static const char *name_of(int engine) {
    return axes_get(PARAM_ENGINE)->choices[engine];
}

static struct best best_of(const struct workload *w, int engine) {
    struct best b = {0};
    for (size_t i = 0; i < w->count; i++) {
        const struct candidate *c = w->candidates + i;
        if (params_integer(&c->first->cell->params, PARAM_ENGINE) != engine) {
            continue;
        }
        bool faster = !b.fastest || c->tps.value > b.fastest->tps.value;
        bool leaner = !b.leanest || c->peak_bytes < b.leanest->peak_bytes;
        b.fastest = isfinite(c->tps.value) && faster ? c : b.fastest;
        b.leanest = isfinite(c->peak_bytes) && leaner ? c : b.leanest;
    }
    return b;
}

static struct engines find_engines(const struct candidates *all) {
    struct engines found = {
            .shared = text_allocate(all->workload_count * sizeof *found.shared)};
    for (size_t i = 0; i < all->workload_count; i++) {
        bool has[ENGINE_COUNT];
        int count = 0;
        for (int e = 0; e < ENGINE_COUNT; e++) {
            has[e] = best_of(all->workloads + i, e).fastest != NULL;
            count += has[e];
        }
        if (count > 1) {
            found.shared[found.count++] = all->workloads + i;
        }
        for (int e = 0; e < ENGINE_COUNT; e++) {
            found.has[e] |= count > 1 && has[e];
        }
    }
    return found;
}

/* -- in words ------------------------------------------------------------------------
 */

static double speed_ratio(const struct best *a, const struct best *b) {
    return a->fastest && b->fastest
                   ? stats_ratio(a->fastest->tps.value, b->fastest->tps.value)
                   : NAN;
}

static double memory_ratio(const struct best *a, const struct best *b) {
    return a->leanest && b->leanest
                   ? stats_ratio(a->leanest->peak_bytes, b->leanest->peak_bytes)
                   : NAN;
}

static struct stats ratios_of(const struct engines *found, int a, int b,
        double (*ratio)(const struct best *, const struct best *)) {
    double *values = text_allocate(found->count * sizeof *values);
    for (size_t i = 0; i < found->count; i++) {
        struct best x = best_of(found->shared[i], a), y = best_of(found->shared[i], b);
        values[i] = ratio(&x, &y);
    }
    struct stats s = stats_of(values, found->count);
    free(values);
    return s;
}

// " (0.96× to 1.30×)", where they differ.
static void add_range(struct text *out, const struct stats *s) {
    if (s->count > 1) {
        human_phrase(out, " (", HUMAN_RATIO, s->minimum, " to ");
        human_phrase(out, "", HUMAN_RATIO, s->maximum, ")");
    }
}

// "at 1.15× the speed of `torch` (0.96× to 1.30×), in 0.79× its memory (…), in 7
// workloads"
static void add_pair(struct text *out, const struct engines *found, int a, int b) {
    struct stats speed = ratios_of(found, a, b, speed_ratio);
    struct stats memory = ratios_of(found, a, b, memory_ratio);
    human_phrase(out, "at ", HUMAN_RATIO, speed.median, " the speed of ");
    markdown_add_code(out, name_of(b));
    add_range(out, &speed);
    human_phrase(out, ", in ", HUMAN_RATIO, memory.median, " its memory");
    add_range(out, &memory);
    text_add(out, ", in ");
    human_plural(out, speed.count, "workload");
}

void engine_answer(struct page *p) {
    struct engines found = find_engines(p->candidates);
    int first = 0;
    while (first < ENGINE_COUNT && !found.has[first]) {
        first++;
    }
    size_t said = 0;
    for (int e = first + 1; e < ENGINE_COUNT; e++) {
        if (!found.has[e] || !ratios_of(&found, first, e, speed_ratio).count) {
            continue;
        }
        if (said++) {
            text_add(&p->markdown, "; ");
        } else {
            text_add(&p->markdown, "- **Engines**, each at its best: ");
            markdown_add_code(&p->markdown, name_of(first));
            text_add(&p->markdown, " runs ");
        }
        add_pair(&p->markdown, &found, first, e);
    }
    text_add(&p->markdown, said ? ".\n\n" : "");
    free(found.shared);
}

/* -- as a table ----------------------------------------------------------------------
 */

// Columns' names are of engines, and outlive the table.
struct labels {
    struct text speed, speed_title, memory, memory_title, fastest, leanest;
};

static void make_labels(int engine, struct labels *l) {
    const char *name = name_of(engine);
    text_addf(&l->speed, "%s_tokens_per_s", name);
    text_addf(&l->speed_title, "%s, tokens/s", name);
    text_addf(&l->memory, "%s_peak_bytes", name);
    text_addf(&l->memory_title, "%s, peak memory", name);
    text_addf(&l->fastest, "%s_fastest", name);
    text_addf(&l->leanest, "%s_leanest", name);
}

static void finish_labels(struct labels *l) {
    text_finish(&l->speed);
    text_finish(&l->speed_title);
    text_finish(&l->memory);
    text_finish(&l->memory_title);
    text_finish(&l->fastest);
    text_finish(&l->leanest);
}

static void add_columns(struct table *t, const struct engines *found,
        const struct labels labels[ENGINE_COUNT]) {
    table_add_code(t, "workload", "workload");
    for (int e = 0; e < ENGINE_COUNT; e++) {
        if (found->has[e]) {
            table_add_number(t, text_get(&labels[e].speed),
                    text_get(&labels[e].speed_title), HUMAN_SHORT);
            table_add_code(t, text_get(&labels[e].fastest), "");
            table_show_last(t, TABLE_CSV_ONLY);
        }
    }
    for (int e = 0; e < ENGINE_COUNT; e++) {
        if (found->has[e]) {
            table_add_number(t, text_get(&labels[e].memory),
                    text_get(&labels[e].memory_title), HUMAN_BYTES);
            table_add_code(t, text_get(&labels[e].leanest), "");
            table_show_last(t, TABLE_CSV_ONLY);
        }
    }
}

// Whether `c`, an engine's best, is told apart from the others' as the best of all.
static bool is_ahead(const struct candidate *c, const struct candidate *const *others,
        double (*worth)(const struct candidate *), candidate_ties ties) {
    size_t behind = 0;
    for (int e = 0; e < ENGINE_COUNT; e++) {
        if (!others[e] || others[e] == c) {
            continue;
        }
        if (worth(others[e]) > worth(c) || ties(others[e], c)) {
            return false;
        }
        behind++;
    }
    return behind > 0;
}

static double speed_of(const struct candidate *c) {
    return c->tps.value;
}

static double thrift_of(const struct candidate *c) {
    return -c->peak_bytes;
}

static void put_best(
        struct table *t, const struct candidate *c, double value, bool is_best) {
    table_put_number(t, value);
    if (is_best) {
        table_mark_best(t);
    }
    table_put_text(t, c ? c->first->cell->id : "");
}

static void add_row(
        struct table *t, const struct engines *found, const struct workload *w) {
    const struct candidate *fastest[ENGINE_COUNT], *leanest[ENGINE_COUNT];
    for (int e = 0; e < ENGINE_COUNT; e++) {
        struct best b = best_of(w, e);
        fastest[e] = b.fastest;
        leanest[e] = b.leanest;
    }
    for (int e = 0; e < ENGINE_COUNT; e++) {
        const struct candidate *c = fastest[e];
        if (found->has[e]) {
            put_best(t, c, c ? c->tps.value : NAN,
                    c && is_ahead(c, fastest, speed_of, candidate_ties_speed));
        }
    }
    for (int e = 0; e < ENGINE_COUNT; e++) {
        const struct candidate *c = leanest[e];
        if (found->has[e]) {
            put_best(t, c, c ? c->peak_bytes : NAN,
                    c && is_ahead(c, leanest, thrift_of, candidate_ties_memory));
        }
    }
}

static bool add_table(struct page *p, const struct engines *found, struct text *err) {
    struct labels labels[ENGINE_COUNT] = {0};
    struct table t = {0};
    struct text name = {0};
    for (int e = 0; e < ENGINE_COUNT; e++) {
        make_labels(e, labels + e);
    }
    add_columns(&t, found, labels);
    for (size_t i = 0; i < found->count; i++) {
        text_clear(&name);
        recommendation_name_workload(p, found->shared[i], &name);
        table_row(&t);
        table_put_text(&t, text_get(&name));
        add_row(&t, found, found->shared[i]);
    }
    page_add_table(p, &t, "engines");
    bool ok = page_add_csv(p, &t, "engines", err);
    table_finish(&t);
    text_finish(&name);
    for (int e = 0; e < ENGINE_COUNT; e++) {
        finish_labels(labels + e);
    }
    return ok;
}

bool engine_add(struct page *p, struct text *err) {
    struct engines found = find_engines(p->candidates);
    bool ok = true;
    if (found.count) {
        text_add(&p->markdown,
                "## Engines, each at its best\n\n"
                "The fastest technique of each engine, and the leanest, which may be "
                "another. What is bold is ahead of the other engines.\n\n");
        ok = add_table(p, &found, err);
    }
    free(found.shared);
    return ok;
}

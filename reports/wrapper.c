/* Kernel × wrapper: what more ranks bring, and what they cost in memory. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "reports/choice.h"
#include "reports/fresh.h"
#include "reports/markdown.h"
#include "reports/page.h"

// What the table has columns for; cells alike in all else share a table.
static const struct context own = {.has = {[PARAM_KERNEL] = true,
                                           [PARAM_RANKS] = true,
                                           [PARAM_FIRST_GPU] = true,
                                           [PARAM_DDP] = true,
                                           [PARAM_BUCKET_MB] = true}};

static int by_rest(const void *a, const void *b) {
    const struct tally *x = *(const struct tally *const *)a;
    const struct tally *y = *(const struct tally *const *)b;
    static const enum param within[] = {
            PARAM_KERNEL, PARAM_RANKS, PARAM_DDP, PARAM_BUCKET_MB, PARAM_FIRST_GPU};
    int order = context_compare(&x->cell->params, &y->cell->params, &own);
    for (size_t i = 0; !order && i < sizeof within / sizeof *within; i++) {
        order = context_compare_value(&x->cell->params, &y->cell->params, within[i]);
    }
    return order ? order : (x > y) - (x < y);
}

/*
 * Two experiments may share a cell: people see it once, and as the first that counts.
 * `shown` has room for `count`; how many it got. Neighbours in `group` are equal.
 */
static size_t without_twins(
        const struct tally *const *group, size_t count, const struct tally **shown) {
    size_t kept = 0;
    for (size_t i = 0; i < count; i++) {
        bool twin = kept && !strcmp(group[i]->cell->hash, shown[kept - 1]->cell->hash);
        if (!twin) {
            shown[kept++] = group[i];
        } else if (!tally_counts(shown[kept - 1]) && tally_counts(group[i])) {
            shown[kept - 1] = group[i];
        }
    }
    return kept;
}

static bool has_same_gpus(const struct tally *a, const struct tally *b) {
    const struct params *p = &a->cell->params, *q = &b->cell->params;
    return context_compare_value(p, q, PARAM_RANKS) == 0 &&
           context_compare_value(p, q, PARAM_FIRST_GPU) == 0;
}

// The naive wrapper of the same kernel, ranks and GPUs, within one table.
static const struct tally *naive_of(
        const struct tally *o, const struct tally *const *group, size_t count) {
    for (size_t i = 0; i < count; i++) {
        const struct params *p = &group[i]->cell->params;
        if (params_integer(p, PARAM_DDP) == DDP_NAIVE && tally_counts(group[i]) &&
                has_same_gpus(group[i], o) &&
                params_integer(p, PARAM_KERNEL) ==
                        params_integer(&o->cell->params, PARAM_KERNEL)) {
            return group[i];
        }
    }
    return NULL;
}

/* Shared-out work is told by times: how long, how much shorter, and what of it. */
static void add_strong_columns(struct table *t, enum table_where where) {
    table_add_number(t, "step_ms_median", "step", HUMAN_MS);
    table_show_last(t, where);
    table_add_number(t, "scaling_speedup", "speed-up over one rank", HUMAN_RATIO);
    table_show_last(t, where);
    table_add_number(t, "compute_ms", "computation", HUMAN_MS);
    table_show_last(t, where);
}

/*
 * `strong`: people see the columns of strong scaling too, and no memory overhead, for a
 * rank that has a share of the batch saves by that alone.
 */
static void add_columns(struct table *t, bool strong) {
    const enum table_where overhead = strong ? TABLE_CSV_ONLY : TABLE_EVERYWHERE;
    table_add_code(t, "cell", "cell");
    table_show_last(t, TABLE_CSV_ONLY);
    table_add_code(t, "rest", "rest");
    table_show_last(t, TABLE_CSV_ONLY);
    table_add_code(t, "kernel", "kernel");
    table_add_code(t, "ddp", "wrapper");
    table_add_number(t, "ranks", "ranks", HUMAN_COUNT);
    table_add_number(t, "first_gpu", "first GPU", HUMAN_COUNT);
    table_add_number(t, "bucket_mb", "bucket MiB", HUMAN_PLAIN);
    table_add_text(t, "status", "status");
    table_add_number(t, "tokens_per_s", "tokens/s", HUMAN_SHORT);
    table_add_number(t, "gain_over_naive", "against naive", HUMAN_RATIO);
    table_add_text(t, "scaling", "scaling");
    table_show_last(t, TABLE_CSV_ONLY);
    add_strong_columns(t, strong ? TABLE_EVERYWHERE : TABLE_CSV_ONLY);
    table_add_number(
            t, "scaling_efficiency", "scaling efficiency (1 is ideal)", HUMAN_PERCENT);
    table_show_last(t, TABLE_CSV_ONLY);
    table_add_number(t, "efficiency_pct", "scaling efficiency", HUMAN_PERCENT);
    table_show_last(t, TABLE_PEOPLE_ONLY);
    table_add_number(t, "comm_exposed_ms", "communication not hidden", HUMAN_MS);
    table_add_number(t, "peak_bytes", "peak memory a rank", HUMAN_BYTES);
    table_add_number(t, "memory_overhead_bytes", "memory overhead", HUMAN_BYTES);
    table_show_last(t, overhead);
    table_add_number(t, "memory_overhead_pct", "overhead", HUMAN_CHANGE);
    table_show_last(t, overhead);
    table_add_number(t, "nccl_bytes", "taken by NCCL", HUMAN_BYTES);
    table_add_text(t, "hash", "hash");
    table_show_last(t, TABLE_CSV_ONLY);
    table_add_code(t, "engine", "engine");
    table_show_last(t, TABLE_CSV_ONLY);
}

static double or_zero(double x) {
    return isfinite(x) ? x : 0;
}

/* The phases that are no communication; NAN where the main ones are not known. */
static double compute_ms(const struct tally *o) {
    return or_zero(tally_metric(o, "data_ms")) + tally_metric(o, "forward_ms") +
           tally_metric(o, "backward_ms") + tally_metric(o, "optimizer_ms");
}

static bool has_buckets(const struct params *p) {
    int64_t ddp = params_integer(p, PARAM_DDP);
    return ddp == DDP_BUCKETED || ddp == DDP_SHARDED;
}

/* The fastest of those that ran on as many ranks, from the same GPU on, where there is
 * a choice. */
static bool is_fastest(
        const struct tally *o, const struct tally *const *group, size_t count) {
    size_t others = 0;
    for (size_t i = 0; i < count; i++) {
        if (!tally_counts(group[i]) || group[i] == o || !has_same_gpus(group[i], o)) {
            continue;
        }
        others++;
        if (!(tally_metric(o, "tokens_per_s") >=
                    tally_metric(group[i], "tokens_per_s"))) {
            return false;
        }
    }
    return others > 0 && tally_counts(o);
}

static void put_bucket(
        struct table *t, const struct tallies *all, const struct params *p) {
    bool shown = all->varies.has[PARAM_BUCKET_MB] && has_buckets(p);
    table_put_number(t, shown ? params_real(p, PARAM_BUCKET_MB) : NAN);
}

static void put_efficiency(struct table *t, double efficiency) {
    table_put_number(t, efficiency);
    table_put_number(t, 100 * efficiency);
    if (efficiency > 1) {
        table_mark_noted(t);
    }
}

/* The speed-up of shared-out work, whatever its other GPUs do alone. */
static double over_one_rank(const struct tally *o) {
    return o->scaling_base ? stats_ratio(tally_metric(o, "tokens_per_s"),
                                     tally_metric(o->scaling_base, "tokens_per_s"))
                           : NAN;
}

static void add_row(struct table *t, const struct tallies *all, const struct tally *o,
        const struct tally *const *group, size_t count, const char *rest) {
    const struct params *p = &o->cell->params;
    const struct tally *naive = naive_of(o, group, count);
    bool counts = tally_counts(o);
    double efficiency = tally_metric(o, "scaling_efficiency");
    double ranks = (double)params_integer(p, PARAM_RANKS);
    table_row(t);
    table_put_text(t, o->cell->id);
    table_put_text(t, rest);
    table_put_text(t, params_choice(p, PARAM_KERNEL));
    table_put_text(t, params_choice(p, PARAM_DDP));
    table_put_number(t, ranks);
    table_put_number(t, all->varies.has[PARAM_FIRST_GPU]
                                ? (double)params_integer(p, PARAM_FIRST_GPU)
                                : NAN);
    put_bucket(t, all, p);
    table_put_text(t, o->stale ? "stale" : counts ? "" : status_name(o->status));
    table_put_spread(t, counts ? tally_metric(o, "tokens_per_s") : NAN,
            tally_speed_spread_pct(o));
    if (is_fastest(o, group, count)) {
        table_mark_best(t);
    }
    table_put_number(t, counts && naive && naive != o
                                ? stats_ratio(tally_metric(o, "tokens_per_s"),
                                          tally_metric(naive, "tokens_per_s"))
                                : NAN);
    table_put_text(t, o->scaling);
    table_put_number(t, counts ? tally_metric(o, "step_ms_median") : NAN);
    table_put_number(t, over_one_rank(o));
    table_put_number(t, counts ? compute_ms(o) : NAN);
    put_efficiency(t, efficiency);
    table_put_number(t, counts ? tally_metric(o, "comm_exposed_ms") : NAN);
    table_put_number(t, counts ? tally_metric(o, "peak_bytes") : NAN);
    table_put_number(t, tally_metric(o, "memory_overhead_bytes"));
    table_put_number(t, tally_metric(o, "memory_overhead_pct"));
    table_put_number(t, counts ? tally_metric(o, "nccl_bytes") : NAN);
    table_put_text(t, o->cell->hash);
    table_put_text(t, params_choice(p, PARAM_ENGINE));
}

// What tells the tables apart: what differs between cells on several ranks.
static struct context rest_of(const struct tallies *o) {
    struct context rest = {0};
    const struct params *first = NULL;
    for (size_t i = 0; i < o->count; i++) {
        const struct params *p = &o->items[i].cell->params;
        if (!o->items[i].cell->excluded && params_integer(p, PARAM_RANKS) > 1) {
            first = first ? first : p;
            context_add_differences(&rest, first, p);
        }
    }
    for (int i = 0; i < PARAM_COUNT; i++) {
        rest.has[i] = rest.has[i] && !own.has[i];
    }
    choice_drop_followers(o, &rest);
    return rest;
}

static const char *missing_efficiency(const struct tally *o) {
    return o->scaling_missing;
}

static const char *missing_overhead(const struct tally *o) {
    if (!o->scaling_base || isfinite(tally_metric(o, "memory_overhead_bytes"))) {
        return NULL;
    }
    return isfinite(tally_metric(o, "peak_bytes"))
                   ? "its one-rank cell's record has no peak_bytes"
                   : "its record has no peak_bytes";
}

// Why a figure is missing, cell by cell as far as there is room.
static void add_reasons(struct page *p, const char *what,
        const char *(*missing)(const struct tally *), const struct tally *const *group,
        size_t count) {
    const size_t most = 4;
    size_t reasons = 0;
    for (size_t i = 0; i < count; i++) {
        const char *reason = missing(group[i]);
        if (reason && reasons++ < most) {
            if (reasons == 1) {
                text_addf(&p->markdown, "Without %s:\n\n", what);
            }
            text_add(&p->markdown, "- ");
            markdown_add_code(&p->markdown, group[i]->cell->id);
            text_add(&p->markdown, ": ");
            markdown_add_text(&p->markdown, reason);
            text_add(&p->markdown, "\n");
        }
    }
    if (reasons > most) {
        text_add(&p->markdown, "- … and ");
        human_plural(&p->markdown, reasons - most, "more cell");
        text_add(&p->markdown, ", see the column `missing` of the results\n");
    }
    text_add(&p->markdown, reasons ? "\n" : "");
}

static size_t end_of_group(
        const struct tally *const *sorted, size_t count, size_t start) {
    size_t end = start + 1;
    while (end < count && context_compare(&sorted[start]->cell->params,
                                  &sorted[end]->cell->params, &own) == 0) {
        end++;
    }
    return end;
}

/* Whether cells ran on GPUs that they named. */
static bool names_gpus(const struct tallies *o) {
    bool named = false;
    for (size_t i = 0; i < o->count; i++) {
        named |= params_integer(&o->items[i].cell->params, PARAM_FIRST_GPU) > 0 &&
                 tally_counts(o->items + i) && tally_on_gpu(o->items + i);
    }
    return named;
}

static void introduce(struct page *p) {
    text_add(&p->markdown,
            "## Kernel × wrapper\n\n"
            "What more ranks bring: efficiency is tokens/s over ranks × tokens/s of "
            "the "
            "same cell, of the same engine, on one rank; *against naive* is tokens/s "
            "over those of the naive wrapper beside it; memory overhead is a rank's "
            "peak beyond the one-rank cell's, so less than nothing is a saving. "
            "*Weak*: "
            "each rank has a batch of its own. *Strong*: all share one, so a rank's "
            "peak falls with its share and is no wrapper's doing. The fastest on as "
            "many ranks is bold.\n\n");
    if (names_gpus(p->tallies)) {
        text_add(&p->markdown,
                "GPUs differ: efficiency is over what a cell's own GPUs do alone, "
                "together, by the one-rank cells that ran on them and count; a GPU "
                "without one is taken to do what the first of the others does.\n\n");
    }
}

/* Of what tells tables apart, what means something to these cells. */
static void add_title(struct page *p, const struct tally *o, struct context rest) {
    bool strong = context_is_strong(&o->cell->params);
    struct text title = {0};
    rest.has[PARAM_GLOBAL_BATCH] &= strong;
    rest.has[PARAM_COMPILE_MODE] &=
            params_integer(&o->cell->params, PARAM_ENGINE) == ENGINE_TORCH_COMPILE;
    context_show(&o->cell->params, &rest, &title);
    text_addf(&p->markdown, "%s scaling", strong ? "Strong" : "Weak");
    if (title.size) {
        text_add(&p->markdown, " with ");
        markdown_add_code(&p->markdown, text_get(&title));
    }
    text_add(&p->markdown, ":\n\n");
    text_finish(&title);
}

/* What was run, and is in no row. */
static void add_twins(struct page *p, const struct tally *const *group, size_t count,
        const struct tally *const *shown, size_t shown_count) {
    size_t said = 0;
    for (size_t i = 0, k = 0; i < count && k < shown_count; i++) {
        k += strcmp(group[i]->cell->hash, shown[k]->cell->hash) != 0;
        if (group[i] == shown[k]) {
            continue;
        }
        text_add(&p->markdown, said++ ? "" : "Run, too, with equal parameters:\n\n");
        text_add(&p->markdown, "- ");
        markdown_add_code(&p->markdown, group[i]->cell->id);
        human_phrase(&p->markdown, ", ", HUMAN_SHORT,
                tally_counts(group[i]) ? tally_metric(group[i], "tokens_per_s") : NAN,
                " tokens/s");
        text_add(&p->markdown, "; the row is of ");
        markdown_add_code(&p->markdown, shown[k]->cell->id);
        text_add(&p->markdown, "\n");
    }
    text_add(&p->markdown, said ? "\n" : "");
}

/* -- what is missing to 100 % that no wrapper could help -----------------------------
 */

static bool is_power_capped(const struct tally *o) {
    struct text reasons = {0};
    fresh_provenance(&o->last->record, "throttle_reasons", &reasons);
    bool capped = strstr(text_get(&reasons), "power cap") != NULL;
    text_finish(&reasons);
    return capped;
}

/*
 * How much lower, in percent, a rank clocked than its one-rank cell, where both ran
 * into their power cap; NAN where they did not, or where other work explains it.
 */
static double clocked_lower(const struct tally *o) {
    if (!(tally_metric(o, "scaling_efficiency") < 1) || !is_power_capped(o) ||
            !is_power_capped(o->scaling_base) || context_is_strong(&o->cell->params)) {
        return NAN;
    }
    double ratio = stats_ratio(tally_metric(o, "sm_clock_mhz"),
            tally_metric(o->scaling_base, "sm_clock_mhz"));
    return ratio < 1 ? 100 * (1 - ratio) : NAN;
}

static void add_causes(struct page *p, const struct tally *const *group, size_t count) {
    double *lower = text_allocate(count * sizeof *lower);
    size_t sharing = 0;
    for (size_t i = 0; i < count; i++) {
        lower[i] = clocked_lower(group[i]);
        sharing += isfinite(tally_metric(group[i], "scaling_efficiency")) &&
                   tally_shares_cores(group[i]);
    }
    struct stats s = stats_of(lower, count);
    if (s.count) {
        text_add(&p->markdown, "Power: in ");
        human_plural(&p->markdown, s.count, "cell");
        text_add(&p->markdown, " a rank ran into its power cap, as one GPU alone did, "
                               "and clocked lower, by ");
        human_number(&p->markdown, HUMAN_PERCENT, s.median);
        text_addf(&p->markdown,
                "%s. Links in use draw power, too; that loss is no communication that "
                "could be hidden.\n\n",
                s.count > 1 ? " in the median" : "");
    }
    if (sharing) {
        text_add(&p->markdown, "In ");
        human_plural(&p->markdown, sharing, "cell");
        text_add(&p->markdown,
                " ranks had more threads than the machine has cores and took turns: "
                "that efficiency says nothing of cores of their own.\n\n");
    }
    free(lower);
}

static void add_notes(struct page *p, const struct table *t,
        const struct tally *const *group, size_t count,
        const struct tally *const *shown, size_t shown_count) {
    if (table_is_noted(t, PAGE_ROWS)) {
        text_add(&p->markdown,
                TABLE_NOTE " Above 100 %: the one-rank cell does more, as under "
                           "`sharded`, whose ranks share the optimizer's work out, or "
                           "is held up by something, as a host that feeds the GPU too "
                           "slowly; or the two are within noise of each other. "
                           "Efficiency against a slow base flatters; compare "
                           "tokens/s.\n\n");
    }
    add_causes(p, group, count);
    add_reasons(p, "scaling efficiency", missing_efficiency, group, count);
    if (!context_is_strong(&group[0]->cell->params)) {
        add_reasons(p, "memory overhead", missing_overhead, group, count);
    }
    add_twins(p, group, count, shown, shown_count);
}

static void add_group(struct page *p, struct table *all,
        const struct tally *const *group, size_t count, bool show) {
    struct context rest = rest_of(p->tallies);
    struct text title = {0};
    bool strong = context_is_strong(&group[0]->cell->params);
    context_show(&group[0]->cell->params, &rest, &title);
    struct table t = {0};
    const struct tally **shown = text_allocate(count * sizeof *shown);
    size_t shown_count = without_twins(group, count, shown);
    add_columns(&t, strong);
    for (size_t i = 0; i < shown_count; i++) {
        add_row(&t, p->tallies, shown[i], shown, shown_count, text_get(&title));
    }
    for (size_t i = 0; i < count; i++) {
        add_row(all, p->tallies, group[i], shown, shown_count, text_get(&title));
    }
    if (show) {
        add_title(p, group[0], rest);
        page_add_table(p, &t, "kernel_wrapper");
        add_notes(p, &t, group, count, shown, shown_count);
    }
    free(shown);
    table_finish(&t);
    text_finish(&title);
}

bool wrapper_add(struct page *p, struct text *err) {
    const struct tallies *o = p->tallies;
    if (!o->varies.has[PARAM_DDP] && !o->varies.has[PARAM_RANKS]) {
        return true;
    }
    const struct tally **sorted = text_allocate(o->count * sizeof *sorted);
    size_t count = 0;
    for (size_t i = 0; i < o->count; i++) {
        if (!o->items[i].cell->excluded && tally_trains(o->items + i)) {
            sorted[count++] = o->items + i;
        }
    }
    qsort(sorted, count, sizeof *sorted, by_rest);
    struct table all = {0};
    add_columns(&all, false);
    const size_t most = 8;
    size_t groups = 0;
    size_t hidden = 0;
    for (size_t start = 0, end; start < count; start = end) {
        end = end_of_group(sorted, count, start);
        // A group that never leaves one rank has nothing to say here, and one that
        // never ran is among the cells that are not ok.
        bool scales = false;
        bool ran = false;
        for (size_t i = start; i < end; i++) {
            if (params_integer(&sorted[i]->cell->params, PARAM_RANKS) > 1) {
                scales = true;
                ran |= tally_counts(sorted[i]);
            }
        }
        if (scales) {
            if (ran && groups == 0) {
                introduce(p);
            }
            hidden += ran && groups >= most;
            add_group(p, &all, sorted + start, end - start, ran && groups < most);
            groups += ran;
        }
    }
    if (hidden) {
        struct text file = {0};
        page_file_name(p, "kernel_wrapper.csv", &file);
        text_add(&p->markdown, "… and ");
        human_plural(&p->markdown, hidden, "more such table");
        text_add(&p->markdown, " in ");
        markdown_add_code(&p->markdown, text_get(&file));
        text_add(&p->markdown, ".\n\n");
        text_finish(&file);
    }
    bool ok = page_add_csv(p, &all, "kernel_wrapper", err);
    table_finish(&all);
    free(sorted);
    return ok;
}

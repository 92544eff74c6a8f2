#include "reports/derive.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "matrix/metric.h"
#include "reports/fresh.h"
#include "reports/peak.h"

static void set_metric(struct tally *o, const char *name, double value) {
    const struct metric *m = metric_find(name);
    if (m) {
        o->metrics[m - metrics] = isfinite(value) ? value : NAN;
    }
}

/*
 * The cell that --set made of `named`: of the same experiment, and different in nothing
 * that the experiment itself varies. NULL where there is none or more than one, as
 * after runs with different --set.
 */
static const struct tally *find_twin(
        const struct tallies *o, const struct tally *named) {
    const char *experiment = named->cell->experiment;
    struct context swept = {0};
    for (size_t i = 0; i < o->count; i++) {
        const struct cell *cell = o->items[i].cell;
        if (!cell->from_set && strcmp(cell->experiment, experiment) == 0) {
            context_add_differences(&swept, &named->cell->params, &cell->params);
        }
    }
    const struct tally *twin = NULL;
    for (size_t i = 0; i < o->count; i++) {
        const struct tally *item = o->items + i;
        if (!item->cell->from_set || !tally_counts(item) ||
                strcmp(item->cell->experiment, experiment) != 0) {
            continue;
        }
        struct context changed = {0};
        context_add_differences(&changed, &named->cell->params, &item->cell->params);
        bool same = true;
        for (int p = 0; p < PARAM_COUNT; p++) {
            same = same && !(changed.has[p] && swept.has[p]);
        }
        if (same && twin) {
            return NULL;
        }
        twin = same ? item : twin;
    }
    return twin;
}

static void find_baseline(struct tallies *o) {
    const char *name = o->results->plan.baseline;
    struct text missing = {0};
    size_t members = 0;
    const struct tally *found = NULL;
    if (!name || !*name) {
        text_add(&missing, "the matrix names no baseline");
        goto done;
    }
    for (size_t i = 0; i < o->count; i++) {
        const struct tally *item = o->items + i;
        if (strcmp(item->cell->id, name) == 0) {
            found = item;
            members = 1;
            break;
        }
        if (strcmp(item->cell->experiment, name) == 0 && !item->cell->excluded) {
            found = item;
            members++;
        }
    }
    if (!members) {
        text_addf(&missing, "the baseline '%s' names no cell that runs", name);
    } else if (members > 1) {
        text_addf(&missing, "the baseline '%s' names %zu cells, it takes one", name,
                members);
    } else if (found->stale) {
        text_addf(&missing, "the baseline '%s' is stale", found->cell->id);
    } else if (found->status == STATUS_NOT_RUN && (o->baseline = find_twin(o, found))) {
        o->baseline_named = found;
    } else if (found->status != STATUS_OK) {
        text_addf(&missing, "the baseline '%s' ended %s", found->cell->id,
                status_name(found->status));
    } else {
        o->baseline = found;
    }
done:
    if (missing.size) {
        o->baseline_missing = text_take(&missing);
    }
}

static void against_baseline(struct tally *o, const struct tally *base) {
    set_metric(o, "speedup",
            stats_ratio(tally_metric(o, "tokens_per_s"),
                    tally_metric(base, "tokens_per_s")));
    double memory = stats_ratio(
            tally_metric(o, "peak_bytes"), tally_metric(base, "peak_bytes"));
    set_metric(o, "memory_saving_pct", 100 * (1 - memory));
}

static int by_series(const void *a, const void *b) {
    const struct tally *x = *(const struct tally *const *)a;
    const struct tally *y = *(const struct tally *const *)b;
    return context_compare(&x->cell->params, &y->cell->params, &context_scaling);
}

static int by_series_and_gpu(const void *a, const void *b) {
    const struct tally *x = *(const struct tally *const *)a;
    const struct tally *y = *(const struct tally *const *)b;
    int order = by_series(a, b);
    order = order ? order
                  : context_compare_value(
                            &x->cell->params, &y->cell->params, PARAM_FIRST_GPU);
    return order ? order : (x > y) - (x < y);
}

bool derive_is_series(const struct tally *a, const struct tally *b) {
    return !a->cell->excluded && !b->cell->excluded &&
           context_compare(&a->cell->params, &b->cell->params, &context_scaling) == 0;
}

static bool is_one_rank(const struct tally *o) {
    const struct params *p = &o->cell->params;
    return params_integer(p, PARAM_RANKS) == 1 &&
           params_integer(p, PARAM_DDP) == DDP_NONE && !o->cell->excluded;
}

/* One-rank cells of one series, side by side, by their first GPU. */
struct singles {
    const struct tally *const *items;
    size_t count;
};

static struct singles singles_of(
        const struct tally *o, const struct tally *const *sorted, size_t count) {
    struct singles s = {.items = bsearch(&o, sorted, count, sizeof *sorted, by_series)};
    if (!s.items) {
        return s;
    }
    while (s.items > sorted && by_series(s.items - 1, &o) == 0) {
        s.items--;
    }
    while (s.items + s.count < sorted + count &&
            by_series(s.items + s.count, &o) == 0) {
        s.count++;
    }
    return s;
}

/* Which of the machine's GPUs a rank had: a `first_gpu` counts among those of its run.
 * −1 where that is not told, as on a CPU. */
static int64_t gpu_of(const struct tally *o, int64_t rank) {
    const json_t *all = json_object_get(o->last->record.provenance, "gpu_numbers");
    const json_t *number = json_array_get(all, (size_t)rank);
    return json_is_integer(number) ? json_integer_value(number) : -1;
}

static int64_t ranks_of(const struct tally *o) {
    return params_integer(&o->cell->params, PARAM_RANKS);
}

static bool may_be_held_against(const struct tally *o, const struct tally *single) {
    return tally_counts(single) && tally_threads(single) == tally_threads(o);
}

/* What ran alone on the GPU of a rank of `o`; NULL where nothing did that counts. */
static const struct tally *find_alone(
        const struct tally *o, struct singles s, int64_t rank) {
    for (size_t i = 0; i < s.count; i++) {
        if (may_be_held_against(o, s.items[i]) &&
                gpu_of(s.items[i], 0) == gpu_of(o, rank)) {
            return s.items[i];
        }
    }
    return NULL;
}

// The best candidate of the series, on a GPU of the cell's own if there is one, or why
// there is none.
static const struct tally *find_scaling_base(
        const struct tally *o, struct singles s, struct text *missing) {
    if (!s.count) {
        text_add(missing, "the matrix has no such cell with ranks=1, ddp=none");
        return NULL;
    }
    const struct tally *other = NULL, *base = NULL;
    for (int64_t r = 0; !base && r < ranks_of(o); r++) {
        base = find_alone(o, s, r);
    }
    for (size_t i = 0; !base && i < s.count; i++) {
        base = may_be_held_against(o, s.items[i]) ? s.items[i] : NULL;
        other = !other || tally_counts(s.items[i]) ? s.items[i] : other;
    }
    if (base) {
        return base;
    }
    if (!tally_counts(other)) {
        text_addf(missing, "its one-rank cell '%s' %s", other->cell->id,
                other->stale ? "is stale" : "ended ");
        text_add(missing, other->stale ? "" : status_name(other->status));
    } else {
        text_addf(missing,
                "its one-rank cell '%s' ran on %lld threads, each rank here on %lld; "
                "set threads",
                other->cell->id, (long long)tally_threads(other),
                (long long)tally_threads(o));
    }
    return NULL;
}

/* What its GPUs do alone, together: one that nothing ran on counts as the base's. */
static double alone_tokens_per_s(const struct tally *o, struct singles s) {
    double sum = 0;
    for (int64_t r = 0; r < ranks_of(o); r++) {
        const struct tally *alone = find_alone(o, s, r);
        sum += tally_metric(alone ? alone : o->scaling_base, "tokens_per_s");
    }
    return sum;
}

static void against_one_rank(struct tally *o, struct singles s) {
    const struct tally *base = o->scaling_base;
    set_metric(o, "scaling_efficiency",
            stats_ratio(tally_metric(o, "tokens_per_s"), alone_tokens_per_s(o, s)));
    double one = tally_metric(base, "peak_bytes");
    double more = tally_metric(o, "peak_bytes") - one;
    set_metric(o, "memory_overhead_bytes", more);
    set_metric(o, "memory_overhead_pct", 100 * stats_ratio(more, one));
}

static void derive_scaling(struct tallies *o) {
    const struct tally **singles = text_allocate(o->count * sizeof *singles);
    size_t count = 0;
    for (size_t i = 0; i < o->count; i++) {
        if (is_one_rank(o->items + i)) {
            singles[count++] = o->items + i;
        }
    }
    qsort(singles, count, sizeof *singles, by_series_and_gpu);
    for (size_t i = 0; i < o->count; i++) {
        struct tally *item = o->items + i;
        const struct params *p = &item->cell->params;
        if (params_integer(p, PARAM_RANKS) < 2 || item->cell->excluded ||
                !tally_trains(item)) {
            continue;
        }
        item->scaling = context_is_strong(p) ? "strong" : "weak";
        if (!tally_counts(item)) {
            continue;
        }
        struct text missing = {0};
        struct singles own = singles_of(item, singles, count);
        item->scaling_base = find_scaling_base(item, own, &missing);
        if (item->scaling_base) {
            against_one_rank(item, own);
        } else {
            item->scaling_missing = text_take(&missing);
        }
    }
    free(singles);
}

static void against_peak(struct tally *o) {
    const struct params *p = &o->cell->params;
    double tps = tally_metric(o, "tokens_per_s");
    double flops = tally_metric(o, "flops_per_token");
    if (!isfinite(tps)) {
        return;
    }
    struct text device = {0}, missing = {0};
    fresh_provenance(&o->last->record, "device", &device);
    double peak = peak_flops(text_get(&device), params_integer(p, PARAM_PRECISION));
    if (!device.size) {
        text_add(&missing, "the record names no device");
    } else if (!isfinite(peak)) {
        text_addf(&missing, "no dense peak is known of '%s'", text_get(&device));
    } else if (!isfinite(flops)) {
        text_add(&missing, "the worker tells no flops_per_token");
    }
    double all = peak * (double)params_integer(p, PARAM_RANKS);
    set_metric(o, "mfu", flops * tps / all);
    set_metric(o, "hfu", tally_metric(o, "hfu_flops_per_token") * tps / all);
    if (missing.size) {
        o->mfu_missing = text_take(&missing);
    }
    text_finish(&device);
}

void derive_metrics(struct tallies *o) {
    for (size_t i = 0; i < o->count; i++) {
        if (tally_counts(o->items + i)) {
            against_peak(o->items + i);
        }
    }
    find_baseline(o);
    for (size_t i = 0; o->baseline && i < o->count; i++) {
        if (tally_counts(o->items + i)) {
            against_baseline(o->items + i, o->baseline);
        }
    }
    derive_scaling(o);
}

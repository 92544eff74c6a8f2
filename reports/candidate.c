#include "reports/candidate.h"

#include <math.h>
#include <stdlib.h>

static const struct context only_seed = {.has = {[PARAM_SEED] = true}};

// All that a technique, and a seed, may change.
static struct context technique(void) {
    struct context c = only_seed;
    for (int p = 0; p < PARAM_COUNT; p++) {
        c.has[p] |= context_is_technique((enum param)p);
    }
    return c;
}

static int compare_in(const struct tally *x, const struct tally *y) {
    struct context except = technique();
    int order = context_compare(&x->cell->params, &y->cell->params, &except);
    if (!order) {
        order = context_compare(&x->cell->params, &y->cell->params, &only_seed);
    }
    return order ? order : (x > y) - (x < y);
}

static int by_workload(const void *a, const void *b) {
    return compare_in(*(const struct tally *const *)a, *(const struct tally *const *)b);
}

static struct candidate sum_up(const struct tally *const *group, size_t count) {
    struct candidate c = {.first = group[0], .cells = count};
    for (size_t i = 0; i < count; i++) {
        bool known = false;
        for (size_t k = 0; k < i && !known; k++) {
            known = context_compare_value(&group[k]->cell->params,
                            &group[i]->cell->params, PARAM_SEED) == 0;
        }
        c.seeds += !known;
        c.attempts += group[i]->ok_count;
    }
    double *values = text_allocate(count * sizeof *values);
    for (size_t i = 0; i < count; i++) {
        values[i] = tally_metric(group[i], "tokens_per_s");
    }
    struct stats s = stats_of(values, count);
    c.tps = count > 1 ? (struct range){s.mean, s.minimum, s.maximum} : group[0]->tps;
    for (size_t i = 0; i < count; i++) {
        values[i] = tally_metric(group[i], "peak_bytes");
    }
    c.peak_bytes = stats_of(values, count).maximum;
    for (size_t i = 0; i < count; i++) {
        values[i] = tally_metric(group[i], "val_ppl");
    }
    s = stats_of(values, count);
    c.ppl = (struct range){s.mean, s.minimum, s.maximum};
    for (size_t i = 0; i < count; i++) {
        values[i] = tally_metric(group[i], "val_loss");
    }
    c.val_loss = stats_of(values, count);
    free(values);
    return c;
}

bool candidate_ties_speed(const struct candidate *a, const struct candidate *b) {
    return stats_meet(&a->tps, &b->tps);
}

bool candidate_ties_memory(const struct candidate *a, const struct candidate *b) {
    double ratio = stats_ratio(a->peak_bytes, b->peak_bytes);
    return fabs(ratio - 1) <= CANDIDATE_MEMORY_TIE;
}

bool candidate_ties_quality(const struct candidate *a, const struct candidate *b) {
    if (a->seeds > 1 && b->seeds > 1) {
        return stats_meet(&a->ppl, &b->ppl);
    }
    double ratio = stats_ratio(a->ppl.value, b->ppl.value);
    return fabs(ratio - 1) <= CANDIDATE_QUALITY_TIE;
}

size_t candidate_count_ties(
        const struct workload *w, const struct candidate *winner, candidate_ties ties) {
    size_t count = 0;
    for (size_t i = 0; i < w->count; i++) {
        const struct candidate *c = w->candidates + i;
        count += c != winner && ties(c, winner);
    }
    return count;
}

bool candidate_may_drift(const struct candidate *a, const struct candidate *b) {
    return a->attempts < 2 || b->attempts < 2;
}

bool candidate_is_faster(const struct candidate *a, const struct candidate *b) {
    return isfinite(a->tps.value) && (!b || a->tps.value > b->tps.value);
}

bool candidate_is_leaner(const struct candidate *a, const struct candidate *b) {
    if (!isfinite(a->peak_bytes)) {
        return false;
    }
    if (!b) {
        return true;
    }
    return a->peak_bytes < b->peak_bytes ||
           (a->peak_bytes == b->peak_bytes && a->tps.value > b->tps.value);
}

static void rank(struct workload *w) {
    for (size_t i = 0; i < w->count; i++) {
        const struct candidate *c = w->candidates + i;
        if (candidate_is_faster(c, w->fastest)) {
            w->fastest = c;
        }
        if (candidate_is_leaner(c, w->leanest)) {
            w->leanest = c;
        }
        if (isfinite(c->ppl.value) &&
                (!w->best || c->ppl.value < w->best->ppl.value ||
                        (c->ppl.value == w->best->ppl.value &&
                                c->tps.value > w->best->tps.value))) {
            w->best = c;
        }
    }
    if (!w->fastest) {
        return;
    }
    double least = w->fastest->tps.value * (1 - CANDIDATE_HARDLY_SLOWER);
    for (size_t i = 0; i < w->count; i++) {
        const struct candidate *c = w->candidates + i;
        if (c->tps.value >= least && candidate_is_leaner(c, w->balanced)) {
            w->balanced = c;
        }
    }
    if (w->balanced && (w->balanced == w->fastest || w->balanced == w->leanest ||
                               candidate_ties_memory(w->balanced, w->fastest))) {
        w->balanced = NULL;
    }
}

static int by_plan_order(const void *a, const void *b) {
    const struct workload *x = a;
    const struct workload *y = b;
    const struct tally *p = x->candidates[0].first;
    const struct tally *q = y->candidates[0].first;
    return (p > q) - (p < q);
}

void candidates_init(struct candidates *c, const struct tallies *o) {
    *c = (struct candidates){0};
    const struct tally **sorted = text_allocate(o->count * sizeof *sorted);
    size_t count = 0;
    for (size_t i = 0; i < o->count; i++) {
        const struct tally *item = o->items + i;
        if (tally_counts(item) && (isfinite(tally_metric(item, "tokens_per_s")) ||
                                          isfinite(tally_metric(item, "val_ppl")))) {
            sorted[count++] = item;
        }
    }
    qsort(sorted, count, sizeof *sorted, by_workload);
    c->items = text_allocate_zeroed(count, sizeof *c->items);
    c->workloads = text_allocate_zeroed(count, sizeof *c->workloads);
    struct context except = technique();
    for (size_t i = 0; i < count;) {
        size_t end = i + 1;
        while (end < count && context_compare(&sorted[i]->cell->params,
                                      &sorted[end]->cell->params, &only_seed) == 0) {
            end++;
        }
        struct workload *w = c->workloads + c->workload_count - 1;
        bool same =
                c->count && context_compare(&c->items[c->count - 1].first->cell->params,
                                    &sorted[i]->cell->params, &except) == 0;
        if (!same) {
            w = c->workloads + c->workload_count++;
            w->candidates = c->items + c->count;
        }
        w->count++;
        c->items[c->count++] = sum_up(sorted + i, end - i);
        i = end;
    }
    free(sorted);
    for (size_t i = 0; i < c->workload_count; i++) {
        rank(c->workloads + i);
    }
    qsort(c->workloads, c->workload_count, sizeof *c->workloads, by_plan_order);
}

void candidates_finish(struct candidates *c) {
    free(c->items);
    free(c->workloads);
    *c = (struct candidates){0};
}

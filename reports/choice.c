#include "reports/choice.h"

#include <math.h>
#include <stdlib.h>

#include "reports/markdown.h"

// What qsort_r() hands to the comparison.
struct order {
    enum param axis;
    struct context except;
};

static int by_context(const void *a, const void *b, void *data) {
    const struct order *order = data;
    const struct tally *x = ((const struct choice_row *)a)->tally;
    const struct tally *y = ((const struct choice_row *)b)->tally;
    int result = context_compare(&x->cell->params, &y->cell->params, &order->except);
    if (!result) {
        result = context_compare_value(&x->cell->params, &y->cell->params, order->axis);
    }
    return result ? result : (x > y) - (x < y);
}

static struct order order_of(const struct choice *c) {
    struct order order = {.axis = c->axis, .except = c->with};
    order.except.has[c->axis] = true;
    return order;
}

static const struct params *next_that_runs(const struct tallies *o, size_t *i) {
    while (*i < o->count) {
        const struct cell *cell = o->items[(*i)++].cell;
        if (!cell->excluded) {
            return &cell->params;
        }
    }
    return NULL;
}

// Whether two parameters split the cells into the same groups.
static bool move_together(const struct tallies *o, enum param a, enum param b) {
    const struct params *seen[64];
    size_t count = 0;
    const struct params *p;
    for (size_t i = 0; (p = next_that_runs(o, &i));) {
        bool known = false;
        for (size_t k = 0; k < count; k++) {
            bool same_a = context_compare_value(seen[k], p, a) == 0;
            bool same_b = context_compare_value(seen[k], p, b) == 0;
            if (same_a != same_b) {
                return false;
            }
            known |= same_a;
        }
        if (!known) {
            if (count == sizeof seen / sizeof *seen) {
                return false;
            }
            seen[count++] = p;
        }
    }
    return true;
}

enum param choice_leader(const struct tallies *o, enum param axis) {
    for (int p = 0; p < (int)axis; p++) {
        if (o->varies.has[p] && move_together(o, (enum param)p, axis)) {
            return (enum param)p;
        }
    }
    return axis;
}

static bool same_value(
        const struct choice *c, const struct params *a, const struct params *b) {
    return context_compare_value(a, b, c->axis) == 0;
}

static struct choice_value *value_of(const struct choice *c, const struct params *p) {
    for (size_t i = 0; i < c->value_count; i++) {
        if (same_value(c, c->values[i].params, p)) {
            return c->values + i;
        }
    }
    return NULL;
}

static int by_value(const void *a, const void *b, void *axis) {
    const struct choice_value *x = a;
    const struct choice_value *y = b;
    return context_compare_value(x->params, y->params, *(enum param *)axis);
}

static void find_values(struct choice *c, const struct tallies *o) {
    for (size_t i = 0; i < o->count; i++) {
        const struct tally *item = o->items + i;
        if (item->cell->excluded) {
            continue;
        }
        struct choice_value *v = value_of(c, &item->cell->params);
        if (!v) {
            c->values = text_reallocate(
                    c->values, (c->value_count + 1) * sizeof *c->values);
            v = c->values + c->value_count++;
            *v = (struct choice_value){.params = &item->cell->params};
        }
        v->cells++;
        v->ok += tally_counts(item);
    }
    qsort_r(c->values, c->value_count, sizeof *c->values, by_value, &c->axis);
}

void choice_drop_followers(const struct tallies *o, struct context *c) {
    for (int p = PARAM_COUNT; p-- > 0;) {
        if (c->has[p]) {
            enum param leader = choice_leader(o, (enum param)p);
            c->has[p] = (int)leader == p || !c->has[leader];
        }
    }
}

static size_t end_of_context(const struct choice *c, size_t start) {
    struct order order = order_of(c);
    const struct params *first = &c->rows[start].tally->cell->params;
    size_t end = start + 1;
    while (end < c->row_count &&
            context_compare(first, &c->rows[end].tally->cell->params, &order.except) ==
                    0) {
        end++;
    }
    return end;
}

// The cell of the reference value in rows[start, end), or NULL.
static const struct tally *partner_in(
        const struct choice *c, size_t start, size_t end, const struct params *value) {
    for (size_t i = start; i < end; i++) {
        const struct tally *o = c->rows[i].tally;
        if (tally_counts(o) && same_value(c, &o->cell->params, value)) {
            return o;
        }
    }
    return NULL;
}

static size_t count_pairs(const struct choice *c, const struct params *value) {
    size_t pairs = 0;
    for (size_t start = 0, end; start < c->row_count; start = end) {
        end = end_of_context(c, start);
        if (!partner_in(c, start, end, value)) {
            continue;
        }
        for (size_t i = start; i < end; i++) {
            const struct params *p = &c->rows[i].tally->cell->params;
            bool repeated =
                    i > start && same_value(c, p, &c->rows[i - 1].tally->cell->params);
            pairs += tally_counts(c->rows[i].tally) && !repeated &&
                     !same_value(c, p, value);
        }
    }
    return pairs;
}

// What a technique is held against: the baseline's value, else the default, if it has
// pairs.
static const struct choice_value *usual_value(
        const struct choice *c, const struct tallies *o) {
    struct params defaults;
    params_init(&defaults);
    const struct params *wanted[] = {
            o->baseline ? &o->baseline->cell->params : NULL, &defaults};
    for (int i = 0; i < 2 && context_is_technique(c->axis); i++) {
        const struct choice_value *v = wanted[i] ? value_of(c, wanted[i]) : NULL;
        if (v && count_pairs(c, v->params)) {
            return v;
        }
    }
    return NULL;
}

// Of a sweep the smallest value that has many pairs, so that it reads upwards; one rank
// in any case, since the scaling series are held against that.
static size_t choose_reference(const struct choice *c, const struct tallies *o) {
    const struct choice_value *usual = usual_value(c, o);
    if (usual || c->axis == PARAM_RANKS) {
        return usual ? (size_t)(usual - c->values) : 0;
    }
    size_t *pairs = text_allocate(c->value_count * sizeof *pairs);
    size_t most = 0;
    for (size_t i = 0; i < c->value_count; i++) {
        pairs[i] = count_pairs(c, c->values[i].params);
        most = pairs[i] > most ? pairs[i] : most;
    }
    size_t best = 0;
    while (2 * pairs[best] < most) {
        best++;
    }
    free(pairs);
    return best;
}

static void pair(
        struct choice *c, struct choice_row *row, const struct tally *partner) {
    const struct tally *o = row->tally;
    row->partner = partner;
    if (row->repeated) {
        return;
    }
    struct choice_value *v = value_of(c, &o->cell->params);
    v->pairs++;
    c->pairs++;
    enum stats_order order = stats_order(&o->tps, &partner->tps);
    v->faster += order == STATS_MORE;
    v->slower += order == STATS_LESS;
    v->drifting +=
            (order == STATS_MORE || order == STATS_LESS) && tally_may_drift(o, partner);
}

static void pair_up(struct choice *c) {
    const struct params *reference = c->values[c->reference].params;
    for (size_t start = 0, end; start < c->row_count; start = end) {
        end = end_of_context(c, start);
        c->contexts++;
        const struct tally *partner = partner_in(c, start, end, reference);
        for (size_t i = start; i < end; i++) {
            const struct tally *o = c->rows[i].tally;
            c->rows[i].repeated = i > start && tally_counts(c->rows[i - 1].tally) &&
                                  same_value(c, &o->cell->params,
                                          &c->rows[i - 1].tally->cell->params);
            const struct tally *other =
                    c->axis == PARAM_RANKS ? o->scaling_base : partner;
            if (other && tally_counts(o) &&
                    !same_value(c, &o->cell->params, reference)) {
                pair(c, c->rows + i, other);
            }
        }
    }
}

static struct stats ratios(
        const struct choice *c, const struct choice_value *v, const char *metric) {
    double *values = text_allocate(c->row_count * sizeof *values);
    size_t count = 0;
    for (size_t i = 0; i < c->row_count; i++) {
        const struct choice_row *row = c->rows + i;
        if (row->partner && !row->repeated &&
                same_value(c, &row->tally->cell->params, v->params)) {
            values[count++] = stats_ratio(tally_metric(row->tally, metric),
                    tally_metric(row->partner, metric));
        }
    }
    struct stats s = stats_of(values, count);
    free(values);
    return s;
}

void choice_init(struct choice *c, const struct tallies *o, enum param axis) {
    *c = (struct choice){.axis = axis};
    for (int p = 0; p < PARAM_COUNT; p++) {
        c->with.has[p] = p != (int)axis && o->varies.has[p] &&
                         choice_leader(o, (enum param)p) == axis;
    }
    find_values(c, o);
    c->rows = text_allocate_zeroed(o->count, sizeof *c->rows);
    for (size_t i = 0; i < o->count; i++) {
        if (!o->items[i].cell->excluded) {
            c->rows[c->row_count++].tally = o->items + i;
        }
    }
    struct order order = order_of(c);
    qsort_r(c->rows, c->row_count, sizeof *c->rows, by_context, &order);
    c->reference = choose_reference(c, o);
    pair_up(c);
    for (size_t i = 0; i < c->value_count; i++) {
        struct choice_value *v = c->values + i;
        v->speed = ratios(c, v, "tokens_per_s");
        v->memory = ratios(c, v, "peak_bytes");
        v->ppl = ratios(c, v, "val_ppl");
    }
}

void choice_finish(struct choice *c) {
    free(c->values);
    free(c->rows);
    *c = (struct choice){0};
}

void choice_show_with(const struct choice *c, struct text *out) {
    const char *gap = "";
    for (int i = 0; i < PARAM_COUNT; i++) {
        if (c->with.has[i]) {
            text_add(out, gap);
            markdown_add_code(out, axes_get((enum param)i)->name);
            gap = ", ";
        }
    }
}

bool choice_may_drift(const struct choice_value *v) {
    bool agree = v->faster == v->pairs || v->slower == v->pairs;
    return v->drifting && !(agree && v->pairs >= CHOICE_PAIRS_PROVE);
}

void choice_verdict(const struct choice_value *v, struct text *out) {
    if (!v->pairs || !v->speed.count) {
        return;
    }
    size_t same = v->pairs - v->faster - v->slower;
    if (same == v->pairs) {
        // Each pair alone is no proof; many that all point one way are some.
        bool many = v->speed.count >= 5;
        text_add(out, many && v->speed.minimum > 1   ? "faster in every pair, each "
                                                       "within noise"
                      : many && v->speed.maximum < 1 ? "slower in every pair, each "
                                                       "within noise"
                                                     : "within noise");
    } else if (choice_may_drift(v)) {
        text_add(out, CHOICE_DRIFT);
    } else if (v->faster == v->pairs) {
        text_add(out, "faster");
    } else if (v->slower == v->pairs) {
        text_add(out, "slower");
    } else {
        const char *gap = "";
        if (v->faster) {
            text_addf(out, "faster in %zu", v->faster);
            gap = ", ";
        }
        if (v->slower) {
            text_addf(out, "%sslower in %zu", gap, v->slower);
        }
        text_addf(out, " of %zu", v->pairs);
        if (same && !(v->faster && v->slower)) {
            text_add(out, ", else within noise");
        }
    }
}

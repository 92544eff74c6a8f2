/* The gap ledger: what each op of a step takes, against what it could not do without.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "reports/fresh.h"
#include "reports/markdown.h"
#include "reports/page.h"
#include "reports/peak.h"

#define LEDGER_CELLS 8 /* that the page shows; CSV has them all */

/* One row of a record's `ops`, and its floor. */
struct entry {
    const char *op, *what;
    double calls, ms, bytes, flops;
    double floor_ms; /* NAN for communication, and where peaks are not known */
};

/* What a cell's ops are held against. */
struct limits {
    double bytes_per_s, flops_per_s; /* NAN unknown */
    double clock_mhz;                /* that the second is at; NAN: as quoted */
};

static const json_t *ops_of(const struct tally *o) {
    return tally_counts(o) ? o->last->record.ops : NULL;
}

static double number(const json_t *object, const char *name) {
    const json_t *value = json_object_get(object, name);
    return json_is_number(value) ? json_number_value(value) : NAN;
}

static struct limits limits_of(const struct tally *o) {
    struct text device = {0};
    int64_t precision = params_integer(&o->cell->params, PARAM_PRECISION);
    fresh_provenance(&o->last->record, "device", &device);
    const char *name = text_get(&device);
    struct limits l = {.bytes_per_s = peak_bandwidth(name),
            .flops_per_s = peak_flops(name, precision),
            .clock_mhz = tally_metric(o, "sm_clock_mhz")};
    if (isfinite(l.clock_mhz)) {
        l.flops_per_s = peak_flops_at(name, precision, l.clock_mhz);
    }
    text_finish(&device);
    return l;
}

static bool are_known(const struct limits *l) {
    return isfinite(l->bytes_per_s) && isfinite(l->flops_per_s);
}

// These queue work that runs beside the step, or wait for it: their time is not that of
// their bytes, which do not go through this device's memory alone.
static bool is_communication(const struct entry *e) {
    static const char *const names[] = {
            "all_reduce", "reduce_scatter", "all_gather", "comm_wait"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (strcmp(e->op, names[i]) == 0) {
            return true;
        }
    }
    return false;
}

static double floor_of(const struct entry *e, const struct limits *l) {
    if (!are_known(l) || is_communication(e)) {
        return NAN;
    }
    return 1e3 * fmax(e->bytes / l->bytes_per_s, e->flops / l->flops_per_s);
}

// What an entry adds to the gap of all: without a floor its whole time.
static double gap_of(const struct entry *e) {
    return isfinite(e->floor_ms) ? e->ms - e->floor_ms : e->ms;
}

// Larger first; equal ones by name, so that pages repeat.
static int by_gap(const void *a, const void *b) {
    const struct entry *x = a, *y = b;
    double p = gap_of(x);
    double q = gap_of(y);
    if (p != q) {
        return p > q ? -1 : 1;
    }
    int order = strcmp(x->op, y->op);
    return order ? order : strcmp(x->what, y->what);
}

/* The entries of one cell, sorted; the caller frees them. What is no row is left out.
 */
static struct entry *read_entries(const struct tally *o, size_t *count) {
    const json_t *rows = json_object_get(ops_of(o), "ops");
    struct limits l = limits_of(o);
    struct entry *entries =
            text_allocate_zeroed(json_array_size(rows), sizeof *entries);
    *count = 0;
    for (size_t i = 0; i < json_array_size(rows); i++) {
        const json_t *row = json_array_get(rows, i);
        struct entry e = {.op = json_string_value(json_object_get(row, "op")),
                .what = json_string_value(json_object_get(row, "what")),
                .calls = number(row, "calls"),
                .ms = number(row, "ms"),
                .bytes = number(row, "bytes"),
                .flops = number(row, "flops")};
        if (e.op && e.what && isfinite(e.ms)) {
            e.floor_ms = floor_of(&e, &l);
            entries[(*count)++] = e;
        }
    }
    qsort(entries, *count, sizeof *entries, by_gap);
    return entries;
}

/* -- tables --------------------------------------------------------------------------
 */

static void add_columns(struct table *t, bool all) {
    if (all) {
        table_add_code(t, "cell", "cell");
        table_add_text(t, "hash", "hash");
    }
    table_add_code(t, "op", "op");
    table_add_code(t, "what", "what");
    table_add_number(t, "calls", "calls", HUMAN_COUNT);
    table_add_number(t, "ms", "ms", HUMAN_REAL);
    if (all) {
        table_add_number(t, "bytes", "bytes", HUMAN_COUNT);
        table_add_number(t, "flops", "operations", HUMAN_COUNT);
    }
    table_add_number(t, "floor_ms", "floor ms", HUMAN_REAL);
    table_add_number(t, "gap_ms", "gap ms", HUMAN_REAL);
    table_add_number(t, "floor_share_pct", "floor's share", HUMAN_PERCENT);
}

static void add_row(struct table *t, const struct tally *o, const struct entry *e) {
    table_row(t);
    if (o) {
        table_put_text(t, o->cell->id);
        table_put_text(t, o->cell->hash);
    }
    table_put_text(t, e->op);
    table_put_text(t, e->what);
    table_put_number(t, e->calls);
    table_put_number(t, e->ms);
    if (o) {
        table_put_number(t, e->bytes);
        table_put_number(t, e->flops);
    }
    table_put_number(t, e->floor_ms);
    table_put_number(t, e->ms - e->floor_ms);
    table_put_number(t, 100 * stats_ratio(e->floor_ms, e->ms));
}

static struct entry sum_of(const struct entry *entries, size_t count) {
    struct entry sum = {.op = "all", .what = ""};
    for (size_t i = 0; i < count; i++) {
        sum.calls += entries[i].calls;
        sum.ms += entries[i].ms;
        sum.floor_ms += is_communication(entries + i) ? 0 : entries[i].floor_ms;
    }
    return sum;
}

static bool has_communication(const struct entry *entries, size_t count) {
    for (size_t i = 0; i < count; i++) {
        if (is_communication(entries + i)) {
            return true;
        }
    }
    return false;
}

/* -- the page ------------------------------------------------------------------------
 */

/* Whether the matrix sets engines against each other, and this one is ours. */
static bool is_ours_among_peers(const struct page *p, const struct tally *o) {
    return p->tallies->varies.has[PARAM_ENGINE] &&
           params_integer(&o->cell->params, PARAM_ENGINE) == ENGINE_NATIVE;
}

static bool is_fastest(const struct page *p, const struct tally *o) {
    for (size_t i = 0; i < p->candidates->workload_count; i++) {
        const struct workload *w = p->candidates->workloads + i;
        if (w->fastest && w->fastest->first == o) {
            return true;
        }
    }
    return false;
}

static bool is_shown(const struct page *p, const struct tally *o) {
    return ops_of(o) &&
           (o == p->tallies->baseline || is_fastest(p, o) || is_ours_among_peers(p, o));
}

static void add_sentence(
        struct page *p, const struct tally *o, const struct entry *sum) {
    struct limits l = limits_of(o);
    double marks = 1e3 * number(ops_of(o), "mark_ms");
    struct text t = {0};
    text_addf(&t, "The ops took ");
    human_number(&t, HUMAN_MS, sum->ms);
    human_phrase(&t, " together; a step without instruments took ", HUMAN_MS,
            tally_metric(o, "step_ms_median"), "");
    text_add(&t, ". ");
    if (isfinite(marks)) {
        text_addf(&t,
                "Two marks with nothing between them are %.3g \xc2\xb5s apart; each of "
                "the %.0f calls has one before it, and nothing is subtracted. ",
                marks, sum->calls);
    }
    if (are_known(&l)) {
        text_addf(&t, "Floors: %.4g GB/s, %.4g TFLOP/s", l.bytes_per_s / 1e9,
                l.flops_per_s / 1e12);
        human_phrase(&t, " at the measured ", HUMAN_COUNT, l.clock_mhz, " MHz");
        text_add(&t, ".");
    } else {
        text_add(&t, "This device's peaks are not known, so there are no floors.");
    }
    markdown_add_text(&p->markdown, text_get(&t));
    text_add(&p->markdown, "\n\n");
    text_finish(&t);
}

static void add_cell(struct page *p, const struct tally *o) {
    size_t count;
    struct entry *entries = read_entries(o, &count);
    struct entry sum = sum_of(entries, count);
    struct table t = {0};
    add_columns(&t, false);
    for (size_t i = 0; i < count; i++) {
        add_row(&t, NULL, entries + i);
    }
    add_row(&t, NULL, &sum);
    text_add(&p->markdown, "### ");
    markdown_add_code(&p->markdown, o->cell->id);
    text_add(&p->markdown, "\n\n");
    add_sentence(p, o, &sum);
    page_add_table(p, &t, "ops");
    if (isfinite(sum.floor_ms) && has_communication(entries, count)) {
        text_add(&p->markdown,
                "Communication has no floor here: its ops queue work or wait for other "
                "ranks, and `all` counts their time alone.\n\n");
    }
    table_finish(&t);
    free(entries);
}

static void add_section(struct page *p) {
    struct text name = {0};
    size_t have = 0, shown = 0;
    page_file_name(p, "ops.csv", &name);
    text_add(&p->markdown,
            "## Where the time goes\n\n"
            "Each op of a step, those of a kind that produce the same taken together, "
            "timed by marks in instrumented steps of their own (median). Its floor is "
            "what the device cannot do faster: max(bytes \xc3\xb7 memory bandwidth, "
            "operations \xc3\xb7 dense peak for the precision at the measured clock). "
            "Bytes: each operand once, read and written, without scratch. Operations: 2"
            "\xc2\xb7m\xc2\xb7n\xc2\xb7k of products; attention 4 forward, 10 backward "
            "for each head, pair that sees each other and element of a head; none "
            "elsewhere. The gap is time less floor; what lies in caches between ops "
            "may "
            "be quicker than its floor.\n\n");
    for (size_t i = 0; i < p->tallies->count; i++) {
        const struct tally *o = p->tallies->items + i;
        have += ops_of(o) != NULL;
        if (shown < LEDGER_CELLS && is_shown(p, o)) {
            add_cell(p, o);
            shown++;
        }
    }
    if (shown < have) {
        text_addf(&p->markdown,
                "Of %zu cells with such times %zu %s shown; all are in ", have, shown,
                shown == 1 ? "is" : "are");
    } else {
        text_add(&p->markdown, "With bytes and operations: ");
    }
    markdown_add_code(&p->markdown, text_get(&name));
    text_add(&p->markdown, ".\n\n");
    text_finish(&name);
}

bool ledger_add(struct page *p, struct text *err) {
    struct table t = {0};
    add_columns(&t, true);
    for (size_t i = 0; i < p->tallies->count; i++) {
        const struct tally *o = p->tallies->items + i;
        if (!ops_of(o)) {
            continue;
        }
        size_t count;
        struct entry *entries = read_entries(o, &count);
        for (size_t k = 0; k < count; k++) {
            add_row(&t, o, entries + k);
        }
        free(entries);
    }
    bool ok = !t.row_count || page_add_csv(p, &t, "ops", err);
    if (ok && t.row_count) {
        add_section(p);
    }
    table_finish(&t);
    return ok;
}

/* The all-reduce curve: size by size what engines and ranks take, and the best of it.
 */
#include <math.h>
#include <stdlib.h>

#include "matrix/curve.h"
#include "reports/fresh.h"
#include "reports/markdown.h"
#include "reports/page.h"

#define GROUPS_MOST 8 // tables on the page; CSV has all rows

// Cells that are alike but for these share a table.
static const struct context beside = {
        .has = {[PARAM_ENGINE] = true, [PARAM_RANKS] = true}};

/* A cell's curve, as one column of times and one of bandwidths. */
struct series {
    const struct tally *cell;
    struct curve_row *rows;
    size_t count;
    char *ms_title, *bus_title;
};

struct curves {
    struct series *items; /* by group, in it by ranks, then engine */
    size_t count;
};

static int by_group(const void *a, const void *b) {
    const struct params *p = &((const struct series *)a)->cell->cell->params;
    const struct params *q = &((const struct series *)b)->cell->cell->params;
    int order = context_compare(p, q, &beside);
    order = order ? order : context_compare_value(p, q, PARAM_RANKS);
    return order ? order : context_compare_value(p, q, PARAM_ENGINE);
}

static int by_bytes(const void *a, const void *b) {
    const struct curve_row *x = a, *y = b;
    return (x->bytes > y->bytes) - (x->bytes < y->bytes);
}

/* What is no row is left out; a worker's own were checked when they came. */
static void read_rows(struct series *s) {
    const json_t *rows = s->cell->last->record.allreduce;
    struct text ignored = {0};
    s->rows = text_allocate_zeroed(json_array_size(rows), sizeof *s->rows);
    for (size_t i = 0; i < json_array_size(rows); i++) {
        s->count += curve_row_from_json(
                json_array_get(rows, i), s->rows + s->count, &ignored);
    }
    qsort(s->rows, s->count, sizeof *s->rows, by_bytes);
    text_finish(&ignored);
}

static void name_columns(struct series *s) {
    const struct params *p = &s->cell->cell->params;
    struct text t = {0};
    text_addf(&t, "%s × %lld: ms", params_choice(p, PARAM_ENGINE),
            (long long)params_integer(p, PARAM_RANKS));
    s->ms_title = text_take(&t);
    text_addf(&t, "%s × %lld: GB/s", params_choice(p, PARAM_ENGINE),
            (long long)params_integer(p, PARAM_RANKS));
    s->bus_title = text_take(&t);
}

static void curves_init(struct curves *c, const struct tallies *o) {
    *c = (struct curves){.items = text_allocate_zeroed(o->count, sizeof *c->items)};
    for (size_t i = 0; i < o->count; i++) {
        const struct tally *cell = o->items + i;
        if (tally_counts(cell) && json_array_size(cell->last->record.allreduce)) {
            struct series *s = c->items + c->count++;
            s->cell = cell;
            read_rows(s);
            name_columns(s);
        }
    }
    qsort(c->items, c->count, sizeof *c->items, by_group);
}

static void curves_finish(struct curves *c) {
    for (size_t i = 0; i < c->count; i++) {
        free(c->items[i].rows);
        free(c->items[i].ms_title);
        free(c->items[i].bus_title);
    }
    free(c->items);
}

static void add_size(struct text *out, int64_t bytes) {
    static const char *const units[] = {"bytes", "KiB", "MiB", "GiB"};
    int unit = 0;
    while (unit < 3 && bytes && bytes % 1024 == 0) {
        bytes /= 1024;
        unit++;
    }
    text_addf(out, "%lld %s", (long long)bytes, units[unit]);
}

/* -- tables --------------------------------------------------------------------------
 */

static const struct curve_row *row_of(const struct series *s, int64_t bytes) {
    for (size_t i = 0; i < s->count; i++) {
        if (s->rows[i].bytes == bytes) {
            return s->rows + i;
        }
    }
    return NULL;
}

/* The smallest size above `bytes` that one of the cells has; 0 where none has. */
static int64_t next_size(const struct series *s, size_t count, int64_t bytes) {
    int64_t next = 0;
    for (size_t i = 0; i < count; i++) {
        for (size_t k = 0; k < s[i].count; k++) {
            int64_t one = s[i].rows[k].bytes;
            next = one > bytes && (!next || one < next) ? one : next;
        }
    }
    return next;
}

static void add_table(struct page *p, const struct series *s, size_t count) {
    struct table t = {0};
    struct text size = {0};
    table_add_text(&t, "bytes", "size");
    table_right_last(&t);
    for (size_t i = 0; i < count; i++) {
        table_add_number(&t, "ms_median", s[i].ms_title, HUMAN_REAL);
        table_add_number(&t, "bus_bytes_per_s", s[i].bus_title, HUMAN_REAL);
    }
    for (int64_t b = next_size(s, count, 0); b; b = next_size(s, count, b)) {
        text_clear(&size);
        add_size(&size, b);
        table_row(&t);
        table_put_text(&t, text_get(&size));
        for (size_t i = 0; i < count; i++) {
            const struct curve_row *row = row_of(s + i, b);
            table_put_number(&t, row ? row->ms_median : NAN);
            table_put_number(&t, row ? row->bus_bytes_per_s / 1e9 : NAN);
        }
    }
    page_add_table(p, &t, "allreduce");
    text_finish(&size);
    table_finish(&t);
}

static void add_groups(struct page *p, const struct curves *c) {
    struct context told = p->tallies->varies;
    told.has[PARAM_ENGINE] = told.has[PARAM_RANKS] = false;
    size_t groups = 0;
    for (size_t start = 0, end; start < c->count; start = end) {
        const struct params *first = &c->items[start].cell->cell->params;
        for (end = start + 1;
                end < c->count &&
                context_compare(first, &c->items[end].cell->cell->params, &beside) == 0;
                end++) {
        }
        if (groups++ >= GROUPS_MOST) {
            continue;
        }
        struct text which = {0};
        context_show(first, &told, &which);
        if (which.size) {
            text_add(&p->markdown, "With ");
            markdown_add_code(&p->markdown, text_get(&which));
            text_add(&p->markdown, ":\n\n");
        }
        text_finish(&which);
        add_table(p, c->items + start, end - start);
    }
    struct text name = {0};
    page_file_name(p, "allreduce.csv", &name);
    if (groups > GROUPS_MOST) {
        text_addf(&p->markdown, "… and %zu more such tables. ", groups - GROUPS_MOST);
    }
    text_add(&p->markdown, "With percentiles: ");
    markdown_add_code(&p->markdown, text_get(&name));
    text_add(&p->markdown, ".\n\n");
    text_finish(&name);
}

/* Which way the largest array went, where NCCL told. */
static void add_ways(struct page *p, const struct curves *c) {
    size_t said = 0;
    for (size_t i = 0; i < c->count; i++) {
        const struct record *r = &c->items[i].cell->last->record;
        struct text way = {0}, version = {0};
        fresh_provenance(r, "nccl_path", &way);
        fresh_provenance(r, "nccl_version", &version);
        if (way.size) {
            text_add(&p->markdown,
                    said++ ? "" : "The way of the largest array, in NCCL's words:\n\n");
            text_add(&p->markdown, "- ");
            markdown_add_code(&p->markdown, c->items[i].cell->cell->id);
            text_add(&p->markdown, ": NCCL ");
            markdown_add_text(&p->markdown, text_get(&version));
            text_add(&p->markdown, ", ");
            markdown_add_code(&p->markdown, text_get(&way));
            text_add(&p->markdown, "\n");
        }
        text_finish(&way);
        text_finish(&version);
    }
    text_add(&p->markdown, said ? "\n" : "");
}

/* Whose curve ends early, and why. */
static void add_left_out(struct page *p, const struct curves *c) {
    size_t said = 0;
    for (size_t i = 0; i < c->count; i++) {
        const struct series *s = c->items + i;
        int64_t most = s->count ? s->rows[s->count - 1].bytes : 0;
        if (most >= CURVE_MOST_BYTES) {
            continue;
        }
        struct text why = {0};
        fresh_provenance(&s->cell->last->record, "sizes_left_out", &why);
        text_add(&p->markdown, said++ ? "" : "Without the largest sizes:\n\n");
        text_add(&p->markdown, "- ");
        markdown_add_code(&p->markdown, s->cell->cell->id);
        text_add(&p->markdown, " ends at ");
        add_size(&p->markdown, most);
        text_add(&p->markdown, ": ");
        markdown_add_text(
                &p->markdown, why.size ? text_get(&why) : "its worker did not say why");
        text_add(&p->markdown, ".\n");
        text_finish(&why);
    }
    text_add(&p->markdown, said ? "\n" : "");
}

static bool add_csv(struct page *p, const struct curves *c, struct text *err) {
    struct table t = {0};
    table_add_code(&t, "cell", "cell");
    table_add_text(&t, "hash", "hash");
    table_add_code(&t, "engine", "engine");
    table_add_code(&t, "precision", "precision");
    table_add_number(&t, "ranks", "ranks", HUMAN_COUNT);
    table_add_number(&t, "bytes", "bytes", HUMAN_COUNT);
    table_add_number(&t, "ms_median", "ms", HUMAN_REAL);
    table_add_number(&t, "ms_p10", "10th percentile", HUMAN_REAL);
    table_add_number(&t, "ms_p90", "90th percentile", HUMAN_REAL);
    table_add_number(&t, "bus_bytes_per_s", "bus bytes/s", HUMAN_SHORT);
    for (size_t i = 0; i < c->count; i++) {
        const struct cell *cell = c->items[i].cell->cell;
        for (size_t k = 0; k < c->items[i].count; k++) {
            const struct curve_row *row = c->items[i].rows + k;
            table_row(&t);
            table_put_text(&t, cell->id);
            table_put_text(&t, cell->hash);
            table_put_text(&t, params_choice(&cell->params, PARAM_ENGINE));
            table_put_text(&t, params_choice(&cell->params, PARAM_PRECISION));
            table_put_number(&t, (double)params_integer(&cell->params, PARAM_RANKS));
            table_put_number(&t, (double)row->bytes);
            table_put_number(&t, row->ms_median);
            table_put_number(&t, row->ms_p10);
            table_put_number(&t, row->ms_p90);
            table_put_number(&t, row->bus_bytes_per_s);
        }
    }
    bool ok = page_add_csv(p, &t, "allreduce", err);
    table_finish(&t);
    return ok;
}

bool allreduce_add(struct page *p, struct text *err) {
    struct curves c;
    curves_init(&c, p->tallies);
    bool ok = !c.count || add_csv(p, &c, err);
    if (ok && c.count) {
        text_add(&p->markdown,
                "## All-reduce\n\n"
                "What the ranks take to add up an array of each size, in the type that "
                "`precision` says: the median over repetitions, each as long as its "
                "slowest rank took, and the bus bandwidth, bytes × 2(n − 1)/n ÷ that "
                "median, which is what every link of a ring of n ranks carries. Sums "
                "were checked before they were timed. Of a cell with repeats the last "
                "one is shown.\n\n");
        add_groups(p, &c);
        add_left_out(p, &c);
        add_ways(p, &c);
    }
    curves_finish(&c);
    return ok;
}

/* -- the answer ----------------------------------------------------------------------
 */

static bool same_column(const struct tally *a, const struct tally *b) {
    const struct params *p = &a->cell->params, *q = &b->cell->params;
    return context_compare_value(p, q, PARAM_RANKS) == 0 &&
           context_compare_value(p, q, PARAM_ENGINE) == 0;
}

/* The best of the cells with the engine and ranks of the i-th; NULL where an earlier
 * one has them, too. */
static const struct tally *best_of(
        const struct curves *c, size_t i, const char *metric, bool largest) {
    const struct tally *best = c->items[i].cell;
    for (size_t k = 0; k < c->count; k++) {
        const struct tally *other = c->items[k].cell;
        if (!same_column(best, other)) {
            continue;
        }
        if (k < i) {
            return NULL;
        }
        double x = tally_metric(other, metric), y = tally_metric(best, metric);
        best = (largest ? x > y : x < y) || isnan(y) ? other : best;
    }
    return best;
}

// "(`cell`)"
static void add_cell(struct page *p, const struct tally *cell) {
    text_add(&p->markdown, " (");
    markdown_add_code(&p->markdown, cell->cell->id);
    text_add(&p->markdown, ")");
}

static void add_best(
        struct page *p, const struct tally *bus, const struct tally *soon) {
    const struct params *params = &bus->cell->params;
    double latency_ms = tally_metric(soon, "allreduce_latency_ms");
    text_addf(&p->markdown,
            "- **%s, %lld ranks**:", params_choice(params, PARAM_ENGINE),
            (long long)params_integer(params, PARAM_RANKS));
    human_phrase(&p->markdown, " at best ", HUMAN_REAL,
            tally_metric(bus, "allreduce_bus_bytes_per_s") / 1e9, " GB/s on the bus");
    if (isfinite(latency_ms)) {
        if (bus != soon) {
            add_cell(p, bus);
        }
        human_phrase(&p->markdown, " and ", HUMAN_REAL, latency_ms, " ms for ");
        add_size(&p->markdown, CURVE_LEAST_BYTES);
    }
    add_cell(p, soon);
    text_add(&p->markdown, ".\n");
}

bool allreduce_answer(struct page *p) {
    struct curves c;
    curves_init(&c, p->tallies);
    text_add(&p->markdown, c.count ? "How fast the ranks add up:\n\n" : "");
    for (size_t i = 0; i < c.count; i++) {
        const struct tally *bus = best_of(&c, i, "allreduce_bus_bytes_per_s", true);
        if (bus && isfinite(tally_metric(bus, "allreduce_bus_bytes_per_s"))) {
            add_best(p, bus, best_of(&c, i, "allreduce_latency_ms", false));
        }
    }
    text_add(&p->markdown, c.count ? "\n" : "");
    bool any = c.count > 0;
    curves_finish(&c);
    return any;
}

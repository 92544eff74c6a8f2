#include "matrix/expand.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "matrix/nearest.h"
#include "matrix/repeat.h"

#define MOST_COMPARISONS 2e8 /* of excludes with cells, by cost: a few seconds */

/* One experiment on its way to cells. */
struct builder {
    const struct document *document;
    const struct experiment *experiment;
    const struct settings *set;
    struct cells *out;
    size_t first;                     /* of this experiment's cells in `out` */
    const char *matrix, *name, *tags; /* in the cells' arena */
    const char **because;             /* per exclude, likewise */
    size_t *matches;                  /* per exclude */
    struct text id;                   /* scratch */
    struct text *err;
};

/* A cell being put together. */
struct draft {
    struct params params;
    bool shown[PARAM_COUNT];  /* in the id */
    enum level batch, global; /* how near each was given, LEVEL_NONE: not */
};

static size_t multiply(size_t a, size_t b) {
    return b && a > SIZE_MAX / b ? SIZE_MAX : a * b;
}

static size_t add(size_t a, size_t b) {
    return a > SIZE_MAX - b ? SIZE_MAX : a + b;
}

static size_t product(const struct experiment *e) {
    size_t count = 1;
    for (size_t i = 0; i < e->dimension_count; i++) {
        count = multiply(count, e->dimensions[i].count);
    }
    return count;
}

size_t expand_count(const struct document *d) {
    size_t experiments, count = 0;
    const struct experiment *list = document_experiments(d, &experiments);
    for (size_t i = 0; i < experiments; i++) {
        count = add(count, add(product(&list[i]), list[i].include_count));
    }
    return count;
}

static bool fail_at(struct builder *b, struct place at, const char *sentence) {
    return text_fail(b->err, "%s:%d:%d: %s", document_path(b->document), at.line,
            at.column, sentence);
}

static void apply(
        struct draft *d, enum param which, union value value, enum level level) {
    d->params.values[which] = value;
    if (which != PARAM_BATCH && which != PARAM_GLOBAL_BATCH) {
        return;
    }
    bool is_batch = which == PARAM_BATCH;
    enum level *own = is_batch ? &d->batch : &d->global;
    enum level *other = is_batch ? &d->global : &d->batch;
    *own = is_batch || value.integer ? level : LEVEL_NONE;
    // The nearer of batch and global_batch replaces the farther.
    if (*own && *other < *own) {
        enum param loser = is_batch ? PARAM_GLOBAL_BATCH : PARAM_BATCH;
        d->params.values[loser] = axes_get(loser)->fallback;
        *other = LEVEL_NONE;
    }
}

static void apply_all(struct draft *d, const struct settings *s) {
    for (size_t i = 0; i < s->count; i++) {
        apply(d, s->items[i].which, s->items[i].value, s->items[i].level);
    }
}

static bool clause_holds(const struct clause *clause, const struct params *p) {
    for (size_t i = 0; i < clause->count; i++) {
        if (condition_matches(&clause->any[i], p)) {
            return true;
        }
    }
    return false;
}

/* The first exclude that names the cell; all are asked, for none may match nothing. */
static const char *find_exclude(struct builder *b, const struct params *p) {
    const char *because = NULL;
    for (size_t i = 0; i < b->experiment->exclude_count; i++) {
        const struct exclude *exclude = &b->experiment->excludes[i];
        size_t held = 0;
        while (held < exclude->count && clause_holds(&exclude->clauses[held], p)) {
            held++;
        }
        if (held == exclude->count) {
            b->matches[i]++;
            because = because ? because : b->because[i];
        }
    }
    return because;
}

static bool same_value(enum param which, union value a, union value b) {
    return axes_get(which)->type == AXIS_REAL   ? a.real == b.real
           : axes_get(which)->type == AXIS_TEXT ? a.text == b.text
                                                : a.integer == b.integer;
}

/* Overrides from the command line; true where they changed what the cell is. */
static bool apply_set(struct builder *b, struct draft *d) {
    struct params before = d->params;
    apply_all(d, b->set);
    bool changed = false;
    for (size_t i = 0; i < b->set->count; i++) {
        enum param which = b->set->items[i].which;
        if (axes_get(which)->hashed &&
                !same_value(which, before.values[which], d->params.values[which])) {
            d->shown[which] = true;
            changed = true;
        }
    }
    return changed;
}

/* Cells that would measure nothing, or the same as another: the reason, or NULL. */
static const char *find_rule(struct builder *b, const struct params *p) {
    struct text why = {0};
    long long task = params_integer(p, PARAM_TASK);
    long long window = params_integer(p, PARAM_WINDOW);
    long long seq_len = params_integer(p, PARAM_SEQ_LEN);
    long long ranks = params_integer(p, PARAM_RANKS);
    bool alone = params_integer(p, PARAM_DDP) == DDP_NONE;
    if (task != TASK_NOOP && task != TASK_ALLREDUCE && window >= seq_len && window) {
        text_addf(&why, "a window of %lld in a sequence of %lld is no window", window,
                seq_len);
    } else if (task == TASK_TRAIN && alone && ranks > 1) {
        text_addf(&why, "ddp none goes with one rank, not %lld", ranks);
    } else if (task == TASK_TRAIN && !alone && ranks == 1) {
        text_addf(&why, "ddp %s goes with more ranks than one",
                params_choice(p, PARAM_DDP));
    } else if (task == TASK_ALLREDUCE && ranks == 1) {
        text_add(&why, "one rank has nobody to add up with");
    } else if (task == TASK_ALLREDUCE && !alone) {
        text_addf(&why, "task allreduce has no wrapper, so ddp %s changes nothing",
                params_choice(p, PARAM_DDP));
    }
    const char *reason = why.size ? arena_copy(&b->out->arena, text_get(&why)) : NULL;
    text_finish(&why);
    return reason;
}

static const char *make_id(struct builder *b, const struct draft *d) {
    text_clear(&b->id);
    text_add(&b->id, b->name);
    char separator = '/';
    for (int i = 0; i < PARAM_COUNT; i++) {
        if (d->shown[i]) {
            text_addf(&b->id, "%c%s=", separator, axes_get((enum param)i)->name);
            params_show(&d->params, (enum param)i, &b->id);
            separator = ',';
        }
    }
    return arena_copy_bytes(&b->out->arena, b->id.data, b->id.size);
}

static bool add_cell(
        struct builder *b, struct draft *d, const char *excluded, struct place place) {
    bool from_set = apply_set(b, d);
    struct cell *cell = &b->out->items[b->out->count++];
    *cell = (struct cell){.matrix = b->matrix,
            .experiment = b->name,
            .tags = b->tags,
            .params = d->params,
            .expect = b->experiment->expect,
            .selected = true,
            .from_set = from_set};
    cell->id = make_id(b, d);
    cell->excluded = excluded ? excluded : find_rule(b, &d->params);
    params_hash(&cell->params, cell->hash);
    struct text wrong = {0};
    bool ok = true;
    if (!cell->excluded && d->batch && d->global) {
        text_add(&wrong, "found both batch and global_batch, expected one of them");
        ok = false;
    }
    ok = ok && (cell->excluded || params_check(&cell->params, &wrong));
    if (!ok) {
        text_fail(b->err, "%s:%d:%d: cell '%s': %s", document_path(b->document),
                place.line, place.column, cell->id, text_get(&wrong));
    }
    text_finish(&wrong);
    return ok;
}

static void start_draft(struct builder *b, struct draft *d) {
    *d = (struct draft){0};
    params_init(&d->params);
    apply_all(d, &b->experiment->fixed);
}

/* The cross product, the last dimension fastest. */
static bool add_product(struct builder *b) {
    const struct experiment *e = b->experiment;
    struct draft base;
    start_draft(b, &base);
    size_t count = product(e);
    for (size_t n = 0; n < count; n++) {
        struct draft d = base;
        size_t rest = n;
        for (size_t i = e->dimension_count; i-- > 0;) {
            const struct dimension *dimension = &e->dimensions[i];
            size_t at = rest % dimension->count;
            rest /= dimension->count;
            for (size_t j = 0; j < dimension->axis_count; j++) {
                const struct axis_values *axis = &dimension->axes[j];
                apply(&d, axis->which, axis->values[at], LEVEL_OWN);
                d.shown[axis->which] = true;
            }
        }
        if (!add_cell(b, &d, find_exclude(b, &d.params), e->place)) {
            return false;
        }
    }
    return true;
}

static bool add_includes(struct builder *b) {
    const struct experiment *e = b->experiment;
    for (size_t i = 0; i < e->include_count; i++) {
        struct draft d;
        start_draft(b, &d);
        apply_all(&d, &e->includes[i]);
        for (size_t j = 0; j < e->includes[i].count; j++) {
            d.shown[e->includes[i].items[j].which] = true;
        }
        if (!add_cell(b, &d, NULL, e->include_places[i])) {
            return false;
        }
    }
    return true;
}

/* In the order of ids, then the cell that stays where ids are equal, then the file's.
 */
static int by_id(const void *a, const void *b) {
    const struct cell *x = *(struct cell *const *)a, *y = *(struct cell *const *)b;
    int order = strcmp(x->id, y->id);
    if (!order) {
        order = (x->excluded != NULL) - (y->excluded != NULL);
    }
    if (!order) {
        order = x->from_set - y->from_set;
    }
    return order ? order : (x > y) - (x < y);
}

static int by_hash(const void *a, const void *b) {
    const struct cell *x = *(struct cell *const *)a, *y = *(struct cell *const *)b;
    int order = strcmp(x->hash, y->hash);
    if (!order) {
        order = x->from_set - y->from_set;
    }
    return order ? order : (x > y) - (x < y);
}

/*
 * Drop, by taking their id, cells that others stand for: an excluded one that an
 * include brings back, and those that --set made equal. In the file alone two equal
 * cells are a mistake.
 */
static bool drop_equal_ids(struct builder *b, struct cell **order, size_t count) {
    const struct cell *kept = NULL;
    for (size_t i = 0; i < count; i++) {
        if (!kept || strcmp(kept->id, order[i]->id) != 0) {
            kept = order[i];
            continue;
        }
        if (!kept->excluded && !order[i]->excluded && !order[i]->from_set) {
            text_fail(b->err,
                    "%s:%d:%d: found two cells '%s', expected each cell id once",
                    document_path(b->document), b->experiment->place.line,
                    b->experiment->place.column, kept->id);
            return false;
        }
        order[i]->id = NULL;
    }
    return true;
}

static bool drop_equal_hashes(struct builder *b, struct cell **order, size_t count) {
    const struct cell *kept = NULL;
    for (size_t i = 0; i < count; i++) {
        if (!kept || strcmp(kept->hash, order[i]->hash) != 0) {
            kept = order[i];
            continue;
        }
        if (!order[i]->from_set) {
            text_fail(b->err,
                    "%s:%d:%d: found cells '%s' and '%s' with the same parameters, "
                    "expected each once",
                    document_path(b->document), b->experiment->place.line,
                    b->experiment->place.column, kept->id, order[i]->id);
            return false;
        }
        order[i]->id = NULL;
    }
    return true;
}

static bool drop_equals(struct builder *b) {
    struct cell *cells = b->out->items + b->first;
    size_t count = b->out->count - b->first, kept = 0;
    struct cell **order = text_allocate(count * sizeof(*order));
    for (size_t i = 0; i < count; i++) {
        order[i] = &cells[i];
    }
    qsort(order, count, sizeof(*order), by_id);
    bool ok = drop_equal_ids(b, order, count);
    size_t running = 0;
    for (size_t i = 0; i < count; i++) {
        if (cells[i].id && !cells[i].excluded) {
            order[running++] = &cells[i];
        }
    }
    qsort(order, running, sizeof(*order), by_hash);
    ok = ok && drop_equal_hashes(b, order, running);
    free(order);
    for (size_t i = 0; i < count; i++) {
        if (cells[i].id) {
            cells[kept++] = cells[i];
        }
    }
    b->out->count = b->first + kept;
    return ok;
}

static bool check_excludes(struct builder *b) {
    for (size_t i = 0; i < b->experiment->exclude_count; i++) {
        if (!b->matches[i]) {
            return fail_at(b, b->experiment->excludes[i].place,
                    "found an exclude that matches no cell, expected it to name one");
        }
    }
    return true;
}

/* What asking one exclude about a cell costs, in comparisons; globs go byte by byte. */
static double cost(const struct exclude *exclude) {
    double sum = 0;
    for (size_t i = 0; i < exclude->count; i++) {
        for (size_t j = 0; j < exclude->clauses[i].count; j++) {
            const char *pattern = exclude->clauses[i].any[j].pattern;
            sum += 1 + (pattern ? (double)strlen(pattern) : 0);
        }
    }
    return sum;
}

static bool check_work(struct builder *b) {
    double sum = 0;
    for (size_t i = 0; i < b->experiment->exclude_count; i++) {
        sum += cost(&b->experiment->excludes[i]);
    }
    return sum * (double)product(b->experiment) <= MOST_COMPARISONS ||
           fail_at(b, b->experiment->place,
                   "found more excludes times cells than can be compared, expected "
                   "fewer");
}

static bool expand_experiment(struct builder *b) {
    const struct experiment *e = b->experiment;
    struct arena *arena = &b->out->arena;
    b->first = b->out->count;
    b->name = arena_copy(arena, e->name);
    b->tags = arena_copy(arena, e->tags);
    b->because = arena_allocate(arena, e->exclude_count * sizeof(*b->because));
    b->matches = text_allocate_zeroed(e->exclude_count, sizeof *b->matches);
    for (size_t i = 0; i < e->exclude_count; i++) {
        b->because[i] = arena_copy(arena, e->excludes[i].because);
    }
    bool ok = check_work(b) && add_product(b) && check_excludes(b) && add_includes(b) &&
              drop_equals(b);
    free(b->matches);
    if (ok) {
        repeat_exclude(b->out->items + b->first, b->out->count - b->first, arena);
    }
    return ok;
}

/* The baseline is one cell: an id, or an experiment that has but one that runs. */
static bool check_baseline(struct builder *b, size_t first) {
    const char *baseline = document_baseline(b->document);
    if (!*baseline || b->set->count) {
        return true; // --set may well have changed it into another cell
    }
    struct nearest n;
    nearest_init(&n, baseline);
    size_t count = 0;
    const char *name = "";
    bool wants_cell =
            strchr(baseline, '/') && b->out->count - first <= CELLS_MOST_OFFERED;
    for (size_t i = first; i < b->out->count; i++) {
        const struct cell *cell = &b->out->items[i];
        if (!strcmp(cell->id, baseline)) {
            return true;
        }
        count += !strcmp(cell->experiment, baseline) && !cell->excluded;
        if (strcmp(name, cell->experiment) != 0) {
            name = cell->experiment;
            nearest_offer(&n, name);
        }
        if (wants_cell) {
            nearest_offer(&n, cell->id);
        }
    }
    if (count == 1) {
        return true;
    }
    struct text sentence = {0};
    const char *likely = count ? NULL : nearest_likely(&n);
    text_add(&sentence, "found baseline ");
    text_add_quoted(&sentence, baseline);
    if (count) {
        text_addf(&sentence, " with %zu cells", count);
    }
    text_addf(&sentence, ", expected an experiment with one cell, or a cell id%s%s%s",
            likely ? "; did you mean '" : "", likely ? likely : "", likely ? "'?" : "");
    fail_at(b, document_baseline_place(b->document), text_get(&sentence));
    text_finish(&sentence);
    return false;
}

bool expand_document(const struct document *d, const struct settings *set,
        struct cells *out, struct text *err) {
    size_t experiments, first = out->count;
    const struct experiment *list = document_experiments(d, &experiments);
    struct builder b = {.document = d,
            .set = set,
            .out = out,
            .err = err,
            .matrix = arena_copy(&out->arena, document_name(d))};
    bool ok = true;
    for (size_t i = 0; ok && i < experiments; i++) {
        b.experiment = &list[i];
        ok = expand_experiment(&b);
    }
    ok = ok && check_baseline(&b, first);
    text_finish(&b.id);
    return ok;
}

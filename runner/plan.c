#include "runner/plan.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "matrix/results.h"
#include "runner/build.h"
#include "runner/folder.h"
#include "runner/machine.h"
#include "runner/matrices.h"
#include "runner/planner.h"
#include "runner/progress.h"
#include "runner/store.h"
#include "runner/workers.h"

/* A selected cell that would run. */
struct planned {
    const struct cell *cell;
    struct store_cell has;
    json_t *bytes; /* --memory; owned */
};

struct planning {
    const struct options *options;
    struct matrices matrices;
    struct machine machine;
    struct workers workers;
    struct store store;
    struct planned *cells;
    size_t count, excluded;
};

static int by_name(const void *a, const void *b) {
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* Look only at cells that have a folder: most plans are made before anything ran. */
static void look(struct planning *p) {
    struct text folder = {0}, below = {0}, ignored = {0};
    char **names = NULL;
    const char *matrix = NULL;
    size_t have = 0;
    for (size_t i = 0; i < p->count; i++) {
        const struct cell *cell = p->cells[i].cell;
        if (!matrix || strcmp(matrix, cell->matrix) != 0) {
            matrix = cell->matrix;
            folder_free_names(names);
            matrices_folder(p->options->out, matrix, &folder);
            text_clear(&below);
            text_addf(&below, "%s/cells", text_get(&folder));
            names = folder_names(text_get(&below), "");
            for (have = 0; names[have];) {
                have++;
            }
        }
        p->cells[i].has = (struct store_cell){.needed = 1, .expected_ms = -1};
        if (have == 0) {
            continue;
        }
        text_clear(&below);
        results_cell_folder(text_get(&folder), cell->id, cell->hash, &below);
        const char *name = strrchr(text_get(&below), '/') + 1;
        if (bsearch(&name, names, have, sizeof *names, by_name)) {
            store_look(&p->store, text_get(&folder), cell, false, &p->cells[i].has,
                    &ignored);
        }
    }
    folder_free_names(names);
    text_finish(&folder);
    text_finish(&below);
    text_finish(&ignored);
}

static bool ask_planner(struct planning *p, struct text *err) {
    const struct cell **cells = text_allocate((p->count + 1) * sizeof *cells);
    json_t **answers = text_allocate_zeroed(p->count + 1, sizeof *answers);
    for (size_t i = 0; i < p->count; i++) {
        cells[i] = p->cells[i].cell;
    }
    bool ok = planner_ask(&p->workers, cells, p->count, answers, err);
    for (size_t i = 0; i < p->count; i++) {
        p->cells[i].bytes = answers[i];
    }
    free(cells);
    free(answers);
    return ok;
}

static void add_last(const struct store_cell *has, struct text *out) {
    text_addf(out, "%s%s",
            has->live       ? "running"
            : has->recorded ? status_name(has->last_status)
                            : "-",
            !has->live && has->recorded && has->last_stale ? " (stale)" : "");
}

static void print_memory(const json_t *bytes, FILE *out) {
    const char *error = json_string_value(json_object_get(bytes, "error"));
    if (error) {
        fprintf(out, "  %s", error);
        return;
    }
    const char *key;
    json_t *value;
    fprintf(out, "  %.1f MiB",
            json_number_value(json_object_get(bytes, "planned_bytes")) / 1048576);
    const char *between = " (";
    json_object_foreach((json_t *)bytes, key, value) {
        size_t n = strlen(key);
        if (n > 6 && !strcmp(key + n - 6, "_bytes") && strcmp(key, "planned_bytes") &&
                json_number_value(value) > 0) {
            fprintf(out, "%s%.*s %.1f", between, (int)n - 6, key,
                    json_number_value(value) / 1048576);
            between = ", ";
        }
    }
    fputs(*between == ',' ? ")" : "", out);
}

static void print_cells(const struct planning *p, FILE *out) {
    struct text last = {0}, expected = {0};
    fprintf(out, "%-12s  %-19s  %-12s  %s%s\n", "hash", "last", "expected", "cell",
            p->options->memory ? "  planned memory per rank" : "");
    for (size_t i = 0; i < p->count; i++) {
        const struct planned *c = &p->cells[i];
        text_clear(&last);
        text_clear(&expected);
        add_last(&c->has, &last);
        if (c->has.expected_ms >= 0) {
            progress_add_duration(c->has.expected_ms, &expected);
        } else {
            text_add(&expected, "-");
        }
        fprintf(out, "%s  %-19s  %-12s  %s", c->cell->hash, text_get(&last),
                text_get(&expected), c->cell->id);
        if (c->bytes) {
            print_memory(c->bytes, out);
        }
        fputc('\n', out);
    }
    for (size_t i = 0, n = 0; i < p->matrices.cells.count; i++) {
        const struct cell *c = &p->matrices.cells.items[i];
        if (c->selected && c->excluded) {
            fputs(n++ ? "" : "\nexcluded:\n", out);
            fprintf(out, "%s  %s: %s\n", c->hash, c->id, c->excluded);
        }
    }
    text_finish(&last);
    text_finish(&expected);
}

/* plan_to_json() of each matrix, joined; each cell says its matrix. */
static void print_json(const struct planning *p, FILE *out) {
    json_t *lists[] = {json_array(), json_array()};
    static const char *const names[] = {"cells", "excluded"};
    size_t at = 0;
    for (size_t d = 0; d < p->matrices.count; d++) {
        struct plan plan = {0};
        plan_init(&plan, p->matrices.documents[d], &p->matrices.cells,
                p->matrices.command);
        json_t *one = plan_to_json(&plan, true);
        for (int k = 0; k < 2; k++) {
            json_t *cell;
            size_t i;
            json_array_foreach(json_object_get(one, names[k]), i, cell) {
                json_object_set_new(cell, "matrix", json_string(plan.matrix));
                if (k == 0 && at < p->count) {
                    const struct planned *c = &p->cells[at++];
                    json_object_set_new(cell, "expected_ms",
                            c->has.expected_ms < 0 ? json_null()
                                                   : json_integer(c->has.expected_ms));
                    json_object_set_new(cell, "needed", json_integer(c->has.needed));
                    if (c->bytes) {
                        json_object_set(cell, "memory", c->bytes);
                    }
                }
                json_array_append(lists[k], cell);
            }
        }
        json_decref(one);
        plan_finish(&plan);
    }
    json_t *root = json_pack("{s:o, s:o}", "cells", lists[0], "excluded", lists[1]);
    json_dumpf(root, out, JSON_INDENT(1));
    fputc('\n', out);
    json_decref(root);
}

static void print_totals(const struct planning *p, FILE *talk) {
    int64_t expected = 0;
    size_t fresh = 0, unknown = 0;
    for (size_t i = 0; i < p->count; i++) {
        const struct store_cell *has = &p->cells[i].has;
        fresh += has->needed == 0;
        unknown += has->needed > 0 && has->expected_ms < 0;
        expected += has->expected_ms >= 0 ? has->needed * has->expected_ms : 0;
    }
    struct text t = {0};
    text_addf(&t, "%zu cell%s, %zu excluded", p->count, p->count == 1 ? "" : "s",
            p->excluded);
    if (fresh) {
        text_addf(&t, "; %zu with fresh results", fresh);
    }
    if (p->count - fresh > unknown) {
        text_add(&t, "; expected ");
        progress_add_duration(expected, &t);
    }
    if (unknown && unknown < p->count - fresh) {
        text_addf(&t, " and %zu that never ran", unknown);
    }
    fprintf(talk, "%s\n", text_get(&t));
    text_finish(&t);
}

static bool prepare(struct planning *p, struct text *err) {
    const struct options *o = p->options;
    machine_init(&p->machine);
    if (!workers_init(&p->workers, err) || !matrices_load(&p->matrices, o, err)) {
        return false;
    }
    p->store = (struct store){.machine = &p->machine, .workers = &p->workers};
    p->cells = text_allocate_zeroed(p->matrices.cells.count + 1, sizeof *p->cells);
    for (size_t i = 0; i < p->matrices.cells.count; i++) {
        const struct cell *c = &p->matrices.cells.items[i];
        if (c->selected && !c->excluded) {
            p->cells[p->count++].cell = c;
        }
        p->excluded += c->selected && c->excluded;
    }
    look(p);
    return !o->memory || ask_planner(p, err);
}

int plan_command(const struct options *o, FILE *out, FILE *talk, struct text *err) {
    struct planning p = {.options = o};
    bool ok = prepare(&p, err);
    if (ok && o->json) {
        print_json(&p, out);
    } else if (ok) {
        print_cells(&p, out);
    }
    if (ok) {
        fflush(out);
        print_totals(&p, talk);
        if (*build_unanswered()) {
            fprintf(talk, "runner: %s\n", build_unanswered());
        }
    }
    for (size_t i = 0; i < p.count; i++) {
        json_decref(p.cells[i].bytes);
    }
    free(p.cells);
    matrices_finish(&p.matrices);
    workers_finish(&p.workers);
    machine_finish(&p.machine);
    return ok ? 0 : 2;
}

#include "tests/helpers/folder.h"

#include <ftw.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "matrix/file.h"

// A test's own mistake: there is nothing to go on with.
static void give_up(const char *what, const char *why) {
    fprintf(stderr, "test folder: %s: %s\n", what, why);
    abort();
}

void folder_init(struct folder *f, const char *matrix, const char *description,
        const char *baseline) {
    *f = (struct folder){0};
    struct plan *p = &f->results.plan;
    p->matrix = text_copy(matrix);
    p->description = text_copy(description);
    p->baseline = text_copy(baseline);
    p->source = text_copy("matrix/demo.yaml");
    folder_command(f, "runner run matrix/demo.yaml");
    f->results.folder = text_copy("results");
}

void folder_command(struct folder *f, const char *command) {
    struct plan *p = &f->results.plan;
    p->commands =
            text_reallocate(p->commands, (p->command_count + 1) * sizeof *p->commands);
    p->commands[p->command_count++] = text_copy(command);
}

void folder_finish(struct folder *f) {
    for (size_t c = 0; c < f->results.count; c++) {
        struct result_cell *cell = f->cells + c;
        for (size_t a = 0; a < cell->attempt_count; a++) {
            free(cell->attempts[a].folder);
            free(cell->attempts[a].damage);
            record_finish(&cell->attempts[a].record);
        }
        free(cell->attempts);
    }
    free(f->cells);
    struct plan *p = &f->results.plan;
    free(p->matrix);
    free(p->description);
    free(p->baseline);
    free(p->source);
    for (size_t i = 0; i < p->command_count; i++) {
        free(p->commands[i]);
    }
    free(p->commands);
    free(p->cells.items);
    free(f->results.folder);
    *f = (struct folder){0};
}

static void set_all(struct params *p, const char *settings) {
    char *copy = text_copy(settings);
    char *rest = copy;
    char *setting;
    while ((setting = strsep(&rest, " "))) {
        char *value = strchr(setting, '=');
        enum param which;
        if (!*setting) {
            continue;
        }
        if (!value) {
            give_up(setting, "no value");
        }
        *value++ = '\0';
        struct text err = {0};
        if (!axes_find(setting, &which) || !params_set(p, which, value, &err)) {
            give_up(setting, text_get(&err));
        }
    }
    free(copy);
}

size_t folder_cell(struct folder *f, const char *experiment, const char *id,
        const char *settings, const char *excluded) {
    size_t at = f->results.count;
    if (at == f->capacity) {
        f->capacity = f->capacity ? 2 * f->capacity : 16;
        f->results.plan.cells.items = text_reallocate(f->results.plan.cells.items,
                f->capacity * sizeof *f->results.plan.cells.items);
        f->cells = text_reallocate(f->cells, f->capacity * sizeof *f->cells);
    }
    struct cell *cell = f->results.plan.cells.items + at;
    *cell = (struct cell){.matrix = axes_intern(f->results.plan.matrix),
            .experiment = axes_intern(experiment),
            .id = axes_intern(id),
            .tags = axes_intern(" opts "),
            .expect = -1,
            .excluded = excluded ? axes_intern(excluded) : NULL,
            .selected = !excluded};
    params_init(&cell->params);
    set_all(&cell->params, settings);
    params_hash(&cell->params, cell->hash);
    f->cells[at] = (struct result_cell){0};
    f->results.count++;
    f->results.plan.cells.count++;
    return at;
}

static struct result_attempt *add_attempt(struct folder *f, size_t at) {
    struct result_cell *cell = f->cells + at;
    cell->attempts = text_reallocate(
            cell->attempts, (cell->attempt_count + 1) * sizeof *cell->attempts);
    struct result_attempt *a = cell->attempts + cell->attempt_count++;
    *a = (struct result_attempt){.number = (int)cell->attempt_count};
    const struct cell *planned = f->results.plan.cells.items + at;
    struct text path = {0};
    results_cell_folder("results", planned->id, planned->hash, &path);
    text_addf(&path, "/attempt-%d", a->number);
    a->folder = text_take(&path);
    return a;
}

void folder_metric(struct record *r, const char *name, double value) {
    json_object_set_new(
            r->metrics, name, isfinite(value) ? json_real(value) : json_null());
}

void folder_fact(struct record *r, const char *name, const char *value) {
    json_object_set_new(r->provenance, name, json_string(value));
}

void folder_on_gpus(struct record *r, int first) {
    json_object_set_new(r->provenance, "gpus", json_pack("[s,s]", "H100", "H100"));
    json_object_set_new(
            r->provenance, "gpu_numbers", json_pack("[i,i]", first, first + 1));
}

static json_t *sample_provenance(void) {
    return json_pack("{s:s,s:s,s:s,s:s,s:i,s:I,s:[],s:s,s:s,s:s,s:i,s:i,s:i,s:i,s:i}",
            "worker_build", "0123abcd", "device", "cpu", "host", "bench", "cpu",
            "Test CPU 9000", "cores", 2, "memory_bytes", (json_int_t)8589934592, "gpus",
            "kernel", "Linux 6.1", "data", "stories", "data_digest", "feedbeef",
            "data_bytes", 1000000, "train_tokens", 850000, "val_tokens", 100000,
            "test_tokens", 50000, "vocab", 256);
}

struct record *folder_attempt(
        struct folder *f, size_t at, enum status status, double tps, double peak) {
    struct result_attempt *a = add_attempt(f, at);
    const struct cell *cell = f->results.plan.cells.items + at;
    a->recorded = true;
    struct record *r = &a->record;
    *r = (struct record){.matrix = text_copy(f->results.plan.matrix),
            .cell = text_copy(cell->id),
            .attempt = a->number,
            .status = status,
            .expect = cell->expect,
            .params = cell->params,
            .wall_ms = 2000,
            .guilty_rank = status == STATUS_OK ? -1 : 0,
            .exit_code = -1,
            .phase = text_copy(status == STATUS_OK ? "end" : "measure"),
            .last_step = 7,
            .error = text_copy(status == STATUS_OK ? "" : "it went wrong"),
            .bytes_asked = -1,
            .bytes_free = -1,
            .stderr_tail = text_copy(""),
            .metrics = json_object(),
            .memory = json_array(),
            .provenance = sample_provenance()};
    memcpy(r->hash, cell->hash, sizeof r->hash);
    // A second after another, so that the newest record is the one added last.
    static int64_t clock_ms = 1000000000000;
    r->started_unix_ms = clock_ms;
    r->ended_unix_ms = clock_ms += 2000;
    if (status == STATUS_OK) {
        folder_metric(r, "tokens_per_s", tps);
        folder_metric(r, "peak_bytes", peak);
    }
    return r;
}

struct record *folder_ran(struct folder *f, const char *experiment, const char *id,
        const char *settings, double tps, double peak) {
    size_t at = folder_cell(f, experiment, id, settings, NULL);
    return folder_attempt(f, at, STATUS_OK, tps, peak);
}

void folder_broken_attempt(struct folder *f, size_t at, const char *damage) {
    struct result_attempt *a = add_attempt(f, at);
    a->recorded = damage != NULL;
    a->damage = damage ? text_copy(damage) : NULL;
}

void folder_seal(struct folder *f) {
    for (size_t i = 0; i < f->results.count; i++) {
        f->cells[i].cell = f->results.plan.cells.items + i;
    }
    f->results.cells = f->cells;
}

static bool write_attempt(
        const struct result_attempt *a, const char *folder, struct text *err) {
    struct text path = {0};
    text_addf(&path, "%s/attempt-%d", folder, a->number);
    bool ok = file_make_folders(text_get(&path), err);
    text_add(&path, "/record.json");
    if (ok && a->damage) {
        static const char torn[] = "{\"format\": 1, \"matr";
        ok = file_write_quick(text_get(&path), torn, sizeof torn - 1, err);
    } else if (ok && a->recorded) {
        ok = record_write(text_get(&path), &a->record, err);
    }
    text_finish(&path);
    return ok;
}

bool folder_write(const struct folder *f, const char *path, struct text *err) {
    struct text name = {0};
    text_addf(&name, "%s/plan.json", path);
    bool ok = file_make_folders(path, err) &&
              plan_write(text_get(&name), &f->results.plan, err);
    for (size_t c = 0; ok && c < f->results.count; c++) {
        const struct cell *cell = f->results.plan.cells.items + c;
        text_clear(&name);
        results_cell_folder(path, cell->id, cell->hash, &name);
        for (size_t a = 0; ok && a < f->cells[c].attempt_count; a++) {
            ok = write_attempt(f->cells[c].attempts + a, text_get(&name), err);
        }
    }
    text_finish(&name);
    return ok;
}

char *folder_temporary(void) {
    const char *base = getenv("TMPDIR");
    struct text path = {0};
    text_addf(&path, "%s/lm-matrix-XXXXXX", base && *base ? base : "/tmp");
    char *made = text_take(&path);
    if (!mkdtemp(made)) {
        give_up(made, "cannot be made");
    }
    return made;
}

static int remove_one(
        const char *path, const struct stat *st, int kind, struct FTW *ftw) {
    (void)st;
    (void)kind;
    (void)ftw;
    return remove(path);
}

void folder_remove(const char *path) {
    nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

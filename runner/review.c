#include "runner/review.h"

#include <jansson.h>
#include <math.h>
#include <string.h>
#include <unistd.h>

#include "matrix/file.h"
#include "matrix/results.h"
#include "reports/report.h"
#include "runner/folder.h"
#include "runner/matrices.h"

static json_t *attempt_json(const struct result_attempt *a) {
    if (a->damage) {
        return json_pack("{s:i, s:s}", "attempt", a->number, "damage", a->damage);
    }
    if (!a->recorded) {
        return json_pack("{s:i, s:b}", "attempt", a->number, "recorded", 0);
    }
    struct text path = {0}, bytes = {0}, ignored = {0};
    text_addf(&path, "%s/record.json", a->folder);
    json_t *record = NULL;
    if (file_read(text_get(&path), 16 << 20, &bytes, &ignored)) {
        record = json_loadb(text_get(&bytes), bytes.size, 0, NULL);
    }
    text_finish(&path);
    text_finish(&bytes);
    text_finish(&ignored);
    return record ? record : json_null();
}

static bool print_json(const char *folder, FILE *out, struct text *err) {
    struct results r;
    if (!results_read(folder, &r, err)) {
        return false;
    }
    json_t *cells = json_array();
    for (size_t i = 0; i < r.count; i++) {
        const struct result_cell *c = &r.cells[i];
        json_t *attempts = json_array();
        const char *status = c->cell->excluded ? "excluded" : "not_run";
        for (size_t k = 0; k < c->attempt_count; k++) {
            const struct result_attempt *a = &c->attempts[k];
            json_array_append_new(attempts, attempt_json(a));
            if (a->recorded && !a->damage) {
                status = status_name(a->record.status);
            }
        }
        json_array_append_new(
                cells, json_pack("{s:s, s:s, s:s, s:s?, s:o}", "cell", c->cell->id,
                               "hash", c->cell->hash, "status", status, "because",
                               c->cell->excluded, "attempts", attempts));
    }
    json_t *root = json_pack("{s:s, s:o}", "matrix", r.plan.matrix, "cells", cells);
    bool ok = root && json_dumpf(root, out, JSON_INDENT(1)) == 0;
    fputc('\n', out);
    json_decref(root);
    results_finish(&r);
    return ok || text_fail(err, "cannot print the records of '%s'", folder);
}

static bool review(const struct options *o, const char *folder, FILE *out, FILE *talk,
        struct text *err) {
    if (o->json) {
        return print_json(folder, out, err);
    }
    if (!report_write(folder, out, err)) {
        return false;
    }
    fprintf(talk, "report: %s\n", folder);
    return true;
}

/* `folder` is a matrix's own folder, or holds some. */
static bool review_all(const struct options *o, const char *folder, FILE *out,
        FILE *talk, struct text *err) {
    if (results_are_in(folder)) {
        return review(o, folder, out, talk, err);
    }
    char **names = folder_names(folder, "");
    struct text path = {0};
    bool ok = true, any = false;
    for (char **n = names; ok && *n; n++) {
        text_clear(&path);
        text_addf(&path, "%s/%s", folder, *n);
        if (results_are_in(text_get(&path))) {
            any = true;
            ok = review(o, text_get(&path), out, talk, err);
        }
    }
    folder_free_names(names);
    text_finish(&path);
    return ok && (any || text_fail(err, "there are no results in '%s'", folder));
}

int review_command(const struct options *o, FILE *out, FILE *talk, struct text *err) {
    bool ok = true;
    if (o->files.count == 0) {
        ok = review_all(o, o->out, out, talk, err);
    }
    for (int i = 0; ok && i < o->files.count; i++) {
        ok = review_all(o, o->files.items[i], out, talk, err);
    }
    return ok ? 0 : 2;
}

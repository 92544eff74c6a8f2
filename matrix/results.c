#include "matrix/results.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LONGEST_ID 160 /* bytes of a folder's name that the id may take */

void results_cell_folder(const char *matrix_folder, const char *cell_id,
        const char *hash, struct text *out) {
    static const char fine[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                               "0123456789_.=,-";
    text_addf(out, "%s/cells/", matrix_folder);
    for (size_t i = 0; cell_id[i] && i < LONGEST_ID; i++) {
        text_add_bytes(out, strchr(fine, cell_id[i]) ? &cell_id[i] : "_", 1);
    }
    text_addf(out, "-%s", hash);
}

static void finish_cell(struct result_cell *cell) {
    for (size_t i = 0; i < cell->attempt_count; i++) {
        free(cell->attempts[i].folder);
        free(cell->attempts[i].damage);
        record_finish(&cell->attempts[i].record);
    }
    free(cell->attempts);
}

void results_finish(struct results *r) {
    for (size_t i = 0; i < r->count; i++) {
        finish_cell(&r->cells[i]);
    }
    free(r->cells);
    free(r->folder);
    plan_finish(&r->plan);
    *r = (struct results){0};
}

/* N of "attempt-N", 0 where `name` is none. */
static int attempt_number(const char *name) {
    static const char prefix[] = "attempt-";
    size_t size = sizeof prefix - 1;
    if (strncmp(name, prefix, size) != 0 || name[size] < '1' || name[size] > '9') {
        return 0;
    }
    char *end;
    errno = 0;
    long n = strtol(name + size, &end, 10);
    return errno || *end || n > INT_MAX ? 0 : (int)n;
}

static int by_number(const void *a, const void *b) {
    const struct result_attempt *x = a, *y = b;
    return (x->number > y->number) - (x->number < y->number);
}

bool results_read_record(const char *folder, const struct cell *cell, int number,
        struct record *r, struct text *err) {
    struct text path = {0};
    text_addf(&path, "%s/record.json", folder);
    bool ok = record_read(text_get(&path), r, err);
    if (ok && (strcmp(r->cell, cell->id) != 0 || strcmp(r->hash, cell->hash) != 0 ||
                      r->attempt != number)) {
        ok = text_fail(err, "%s: found the record of attempt %d of '%s' (%s)",
                text_get(&path), r->attempt, r->cell, r->hash);
        record_finish(r);
    }
    text_finish(&path);
    return ok;
}

static void read_attempt(struct result_attempt *a, const struct cell *cell) {
    struct text path = {0}, wrong = {0};
    text_addf(&path, "%s/record.json", a->folder);
    a->recorded = access(text_get(&path), F_OK) == 0;
    if (a->recorded &&
            !results_read_record(a->folder, cell, a->number, &a->record, &wrong)) {
        a->damage = text_take(&wrong);
    }
    text_finish(&path);
    text_finish(&wrong);
}

static bool read_cell(struct results *r, struct result_cell *out, struct text *err) {
    struct text folder = {0};
    results_cell_folder(r->folder, out->cell->id, out->cell->hash, &folder);
    DIR *stream = opendir(text_get(&folder));
    bool ok = stream || errno == ENOENT;
    if (!ok) {
        text_fail(err, "cannot open '%s': %s", text_get(&folder), strerror(errno));
    }
    size_t capacity = 0;
    struct dirent *entry;
    while (stream && (entry = readdir(stream))) {
        int number = attempt_number(entry->d_name);
        if (!number) {
            continue;
        }
        if (out->attempt_count == capacity) {
            capacity = capacity ? 2 * capacity : 4;
            out->attempts =
                    text_reallocate(out->attempts, capacity * sizeof *out->attempts);
        }
        struct result_attempt *a = &out->attempts[out->attempt_count++];
        struct text path = {0};
        text_addf(&path, "%s/%s", text_get(&folder), entry->d_name);
        *a = (struct result_attempt){.number = number, .folder = text_take(&path)};
        read_attempt(a, out->cell);
    }
    if (stream) {
        closedir(stream);
    }
    if (out->attempt_count) {
        qsort(out->attempts, out->attempt_count, sizeof *out->attempts, by_number);
    }
    text_finish(&folder);
    return ok;
}

bool results_are_in(const char *folder) {
    struct text path = {0};
    text_addf(&path, "%s/plan.json", folder);
    bool there = access(text_get(&path), F_OK) == 0;
    text_finish(&path);
    return there;
}

bool results_read(const char *folder, struct results *r, struct text *err) {
    *r = (struct results){.folder = text_copy(folder)};
    struct text path = {0};
    text_addf(&path, "%s/plan.json", folder);
    bool ok = plan_read(text_get(&path), &r->plan, err);
    text_finish(&path);
    if (ok) {
        r->cells = text_allocate_zeroed(r->plan.cells.count, sizeof *r->cells);
    }
    for (size_t i = 0; ok && i < r->plan.cells.count; i++) {
        r->cells[i].cell = &r->plan.cells.items[i];
        r->count = i + 1;
        ok = read_cell(r, &r->cells[i], err);
    }
    if (!ok) {
        results_finish(r);
    }
    return ok;
}

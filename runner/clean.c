#include "runner/clean.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "matrix/results.h"
#include "runner/folder.h"
#include "runner/machine.h"
#include "runner/matrices.h"
#include "runner/store.h"

struct cleaning {
    const struct options *options;
    struct matrices matrices;
    struct machine machine;
    FILE *out, *talk;
    size_t count;
    int64_t bytes;
    bool refused;
};

static bool is_folder(const char *path) {
    struct stat st;
    return lstat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

static bool clean_folder(struct cleaning *c, const char *path, struct text *err) {
    if (!is_folder(path)) {
        return true;
    }
    if (store_is_live(&c->machine, path)) {
        fprintf(c->talk, "runner: '%s' is running and stays\n", path);
        c->refused = true;
        return true;
    }
    int64_t bytes = folder_bytes(path);
    fprintf(c->out, "%s  %.1f MiB\n", path, (double)bytes / 1048576);
    c->count++;
    c->bytes += bytes;
    return !c->options->yes || folder_remove(path, err);
}

/* Everything a matrix has, once no cell of it is left: reports, figures, plan. */
static bool clean_rest(const char *out, const char *matrix, struct text *err) {
    struct text folder = {0}, path = {0}, prefix = {0};
    matrices_folder(out, matrix, &folder);
    text_addf(&path, "%s/cells", text_get(&folder));
    bool ok = true;
    char **left = folder_names(text_get(&path), "");
    if (!*left) {
        rmdir(text_get(&path));
        text_addf(&prefix, "%s_", matrix);
        char **files = folder_names(text_get(&folder), text_get(&prefix));
        for (char **f = files; ok && *f; f++) {
            text_clear(&path);
            text_addf(&path, "%s/%s", text_get(&folder), *f);
            ok = folder_remove(text_get(&path), err);
        }
        folder_free_names(files);
        text_clear(&path);
        text_addf(&path, "%s/plan.json", text_get(&folder));
        unlink(text_get(&path));
        // What is not ours stays, and its folder with it.
        rmdir(text_get(&folder));
    }
    folder_free_names(left);
    text_finish(&folder);
    text_finish(&path);
    text_finish(&prefix);
    return ok;
}

static bool has_selection(const struct options *o) {
    return o->tags.count || o->only.count || o->skip.count || o->where.count ||
           o->set.count;
}

/* The folders of one matrix: those of the selected cells, or without a selection all,
 * also of cells that the matrix file no longer has. */
static bool clean_matrix(struct cleaning *c, size_t d, struct text *err) {
    struct text folder = {0}, path = {0};
    const char *matrix = document_name(c->matrices.documents[d]);
    bool ok = true;
    matrices_folder(c->options->out, matrix, &folder);
    for (size_t i = 0; ok && i < c->matrices.cells.count; i++) {
        const struct cell *cell = &c->matrices.cells.items[i];
        if (cell->selected && !strcmp(cell->matrix, matrix)) {
            text_clear(&path);
            results_cell_folder(text_get(&folder), cell->id, cell->hash, &path);
            ok = clean_folder(c, text_get(&path), err);
        }
    }
    if (!has_selection(c->options)) {
        text_add(&folder, "/cells");
        char **names = folder_names(text_get(&folder), "");
        for (char **n = names; ok && *n; n++) {
            text_clear(&path);
            text_addf(&path, "%s/%s", text_get(&folder), *n);
            bool shown = false;
            for (size_t i = 0; !c->options->yes && i < c->matrices.cells.count; i++) {
                const struct cell *cell = &c->matrices.cells.items[i];
                size_t size = strlen(*n);
                shown = shown || (size > 12 && !strcmp(*n + size - 12, cell->hash));
            }
            ok = shown || clean_folder(c, text_get(&path), err);
        }
        folder_free_names(names);
    }
    if (ok && c->options->yes) {
        ok = clean_rest(c->options->out, matrix, err);
    }
    text_finish(&folder);
    text_finish(&path);
    return ok;
}

/* A results folder by its path: what `runner try` made has no matrix file. */
static bool clean_results(struct cleaning *c, const char *folder, struct text *err) {
    struct text path = {0}, parent = {0};
    text_addf(&path, "%s/cells", folder);
    char **names = folder_names(text_get(&path), "");
    bool ok = true;
    for (char **n = names; ok && *n; n++) {
        text_clear(&path);
        text_addf(&path, "%s/cells/%s", folder, *n);
        ok = clean_folder(c, text_get(&path), err);
    }
    folder_free_names(names);
    text_clear(&path);
    text_add_bytes(&path, folder, strlen(folder) - (folder[strlen(folder) - 1] == '/'));
    const char *slash = strrchr(text_get(&path), '/');
    text_add_bytes(&parent, slash ? text_get(&path) : ".",
            slash ? (size_t)(slash - text_get(&path)) : 1);
    if (ok && c->options->yes) {
        ok = clean_rest(text_get(&parent), slash ? slash + 1 : text_get(&path), err);
    }
    text_finish(&path);
    text_finish(&parent);
    return ok;
}

static bool clean_matrices(struct cleaning *c, struct text *err) {
    struct matrices *m = &c->matrices;
    bool ok = matrices_load(m, c->options, err);
    for (size_t d = 0; ok && d < m->count; d++) {
        ok = clean_matrix(c, d, err);
    }
    return ok;
}

int clean_command(const struct options *o, FILE *out, FILE *talk, struct text *err) {
    struct cleaning c = {.options = o, .out = out, .talk = talk};
    bool ok = true;
    machine_init(&c.machine);
    if (o->files.count && results_are_in(o->files.items[0])) {
        for (int i = 0; ok && i < o->files.count; i++) {
            ok = results_are_in(o->files.items[i])
                         ? clean_results(&c, o->files.items[i], err)
                         : text_fail(err, "there are no results in '%s'",
                                   o->files.items[i]);
        }
    } else {
        ok = clean_matrices(&c, err);
    }
    if (ok) {
        fflush(out);
        fprintf(talk, "%zu cell%s, %.1f MiB %s\n", c.count, c.count == 1 ? "" : "s",
                (double)c.bytes / 1048576,
                o->yes ? "removed" : "would be removed; add --yes to remove them");
    }
    matrices_finish(&c.matrices);
    machine_finish(&c.machine);
    return !ok ? 2 : c.refused ? 1 : 0;
}

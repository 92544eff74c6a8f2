#include "runner/matrices.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "matrix/file.h"
#include "runner/folder.h"

#define FOLDER "matrix"

/* One word as a shell reads it. */
static void add_quoted(const char *word, struct text *out) {
    static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                "0123456789_-+=./,:@%";
    text_add(out, " ");
    if (*word && word[strspn(word, plain)] == '\0') {
        text_add(out, word);
        return;
    }
    text_add(out, "'");
    for (; *word; word++) {
        text_addf(out, *word == '\'' ? "'\\%c'" : "%c", *word);
    }
    text_add(out, "'");
}

static void add_words(const char *option, const struct words *w, struct text *out) {
    if (w->count && *option) {
        text_addf(out, " %s", option);
    }
    for (int i = 0; i < w->count; i++) {
        add_quoted(w->items[i], out);
    }
}

static char *repeat_command(const struct options *o) {
    struct text t = {0};
    text_add(&t, o->command == COMMAND_TRY ? "build/runner try" : "build/runner");
    add_words("", &o->files, &t);
    add_words("--tags", &o->tags, &t);
    add_words("--only", &o->only, &t);
    add_words("--skip", &o->skip, &t);
    add_words("--where", &o->where, &t);
    if (o->command != COMMAND_TRY) {
        add_words("--set", &o->set, &t);
    }
    if (strcmp(o->out, "results") != 0) {
        text_add(&t, " --out");
        add_quoted(o->out, &t);
    }
    if (o->repeats) {
        text_addf(&t, " --repeats %d", o->repeats);
    }
    return text_take(&t);
}

static bool add_document(
        struct matrices *m, const char *path, bool named, struct text *err) {
    struct document *d = document_read(path, err);
    if (!d) {
        return false;
    }
    if (document_manual(d) && !named) {
        document_destroy(d);
        return true;
    }
    m->documents = text_reallocate(m->documents, (m->count + 1) * sizeof *m->documents);
    m->documents[m->count++] = d;
    return true;
}

static bool add_shipped(struct matrices *m, struct text *err) {
    char **names = folder_names(FOLDER, "");
    struct text path = {0};
    bool ok = true;
    for (char **n = names; ok && *n; n++) {
        size_t size = strlen(*n);
        if (size > 5 && !strcmp(*n + size - 5, ".yaml")) {
            text_clear(&path);
            text_addf(&path, FOLDER "/%s", *n);
            ok = add_document(m, text_get(&path), false, err);
        }
    }
    folder_free_names(names);
    text_finish(&path);
    if (ok && m->count == 0) {
        ok = text_fail(err,
                "there is no matrix file in '" FOLDER "/' here; name one, or "
                "start the runner from the project's folder");
    }
    return ok;
}

/* --repeats holds for the selected cells as if the file said so: plan and records carry
 * it, and a report counts by them. It is no part of a hash. */
static void set_repeats(struct cells *c, int repeats) {
    for (size_t i = 0; repeats && i < c->count; i++) {
        if (c->items[i].selected) {
            c->items[i].params.values[PARAM_REPEATS].integer = repeats;
        }
    }
}

/* Excluded cells that a sentence names; the others are counted. */
#define MOST_NAMED 5

static bool check_runs(const struct matrices *m, struct text *err) {
    struct text sentence = {0};
    size_t excluded = 0;
    text_add(&sentence, "nothing to run: ");
    for (size_t i = 0; i < m->cells.count; i++) {
        const struct cell *c = &m->cells.items[i];
        if (c->selected && !c->excluded) {
            text_finish(&sentence);
            return true;
        }
        if (c->selected && excluded++ < MOST_NAMED) {
            text_addf(&sentence, "%s'%s' is excluded because %s",
                    excluded > 1 ? "; " : "", c->id, c->excluded);
        }
    }
    if (excluded > MOST_NAMED) {
        text_addf(&sentence, "; and %zu more", excluded - MOST_NAMED);
    }
    text_fail(err, "%s", text_get(&sentence));
    text_finish(&sentence);
    return false;
}

bool matrices_load(struct matrices *m, const struct options *o, struct text *err) {
    struct selection selection = options_selection(o);
    *m = (struct matrices){.command = repeat_command(o)};
    bool ok = o->files.count || add_shipped(m, err);
    for (int i = 0; ok && i < o->files.count; i++) {
        ok = add_document(m, o->files.items[i], true, err);
    }
    ok = ok && cells_expand(m->documents, m->count, &selection, &m->cells, err);
    set_repeats(&m->cells, o->repeats);
    ok = ok && (o->command != COMMAND_RUN || check_runs(m, err));
    if (!ok) {
        matrices_finish(m);
    }
    return ok;
}

bool matrices_load_try(struct matrices *m, const struct options *o, struct text *err) {
    const char *name = o->files.items[0];
    struct text path = {0}, yaml = {0};
    struct selection selection = {.set = o->files.items + 1};
    *m = (struct matrices){.command = repeat_command(o), .by_hand = true};
    text_addf(&path, "try_%s.yaml", name);
    text_addf(&yaml, "description: One cell by hand.\nexperiments:\n  - name: \"%s\"\n",
            name);
    bool ok = name[strcspn(name, "\"\\\n/")] == '\0' ||
              text_fail(err,
                      "found name '%s', expected one without quotes, "
                      "backslashes and slashes",
                      name);
    if (ok) {
        struct document *d =
                document_parse(text_get(&path), text_get(&yaml), yaml.size, err);
        if (d) {
            m->documents = text_allocate(sizeof *m->documents);
            m->documents[m->count++] = d;
        }
        ok = d && cells_expand(m->documents, m->count, &selection, &m->cells, err);
        set_repeats(&m->cells, o->repeats);
        ok = ok && check_runs(m, err);
    }
    text_finish(&path);
    text_finish(&yaml);
    if (!ok) {
        matrices_finish(m);
    }
    return ok;
}

void matrices_finish(struct matrices *m) {
    for (size_t i = 0; i < m->count; i++) {
        document_destroy(m->documents[i]);
    }
    free(m->documents);
    free(m->command);
    cells_finish(&m->cells);
    *m = (struct matrices){0};
}

bool matrices_runs(const struct matrices *m, size_t d) {
    const char *name = document_name(m->documents[d]);
    for (size_t i = 0; i < m->cells.count; i++) {
        const struct cell *c = &m->cells.items[i];
        if (c->selected && !c->excluded && !strcmp(c->matrix, name)) {
            return true;
        }
    }
    return false;
}

void matrices_folder(const char *out, const char *matrix, struct text *folder) {
    text_clear(folder);
    text_addf(folder, "%s/%s", out, matrix);
}

/* Add the selected cells that --set made to `plan`. */
static void add_set_cells(const struct matrices *m, size_t d, struct plan *plan) {
    struct cells chosen = {0};
    chosen.items = text_allocate(m->cells.count * sizeof *chosen.items);
    for (size_t i = 0; i < m->cells.count; i++) {
        const struct cell *c = &m->cells.items[i];
        if (c->selected && c->from_set) {
            chosen.items[chosen.count++] = *c;
        }
    }
    struct plan made = {0};
    plan_init(&made, m->documents[d], &chosen, m->command);
    plan_merge(plan, &made);
    plan_finish(&made);
    // Its texts are the matrices' own.
    free(chosen.items);
}

/* Carry the selected cells' repeats into the plan of the whole file. Both stand in the
 * file's order, but for cells that --set made; those come with theirs. */
static void carry_repeats(const struct matrices *m, struct plan *plan) {
    size_t at = 0;
    for (size_t i = 0; i < m->cells.count; i++) {
        const struct cell *c = &m->cells.items[i];
        if (!c->selected || c->from_set || strcmp(c->matrix, plan->matrix) != 0) {
            continue;
        }
        while (at < plan->cells.count && strcmp(plan->cells.items[at].id, c->id)) {
            at++;
        }
        if (at < plan->cells.count) {
            plan->cells.items[at].params.values[PARAM_REPEATS] =
                    c->params.values[PARAM_REPEATS];
        }
    }
}

bool matrices_plan(const struct matrices *m, size_t d, const char *folder,
        struct plan *plan, struct text *err) {
    struct cells whole = {0};
    struct plan old = {0};
    struct text path = {0}, ignored = {0};
    *plan = (struct plan){0};
    if (!cells_expand(&m->documents[d], 1, NULL, &whole, err)) {
        return false;
    }
    if (m->by_hand && m->cells.items[0].from_set) {
        cells_finish(&whole);
    }
    plan_init(plan, m->documents[d], &whole, m->command);
    cells_finish(&whole);
    for (size_t i = 0; m->by_hand && i < plan->cells.count; i++) {
        plan->cells.items[i].from_set = true; // the next plan brings it back
    }
    carry_repeats(m, plan);
    add_set_cells(m, d, plan);
    text_addf(&path, "%s/plan.json", folder);
    // A plan that cannot be read holds nothing that the matrix file would not say
    // again.
    if (plan_read(text_get(&path), &old, &ignored)) {
        plan_merge(plan, &old);
    }
    plan_finish(&old);
    text_finish(&path);
    text_finish(&ignored);
    return true;
}

bool matrices_write_plans(const struct matrices *m, const char *out, struct text *err) {
    struct text folder = {0};
    bool ok = true;
    for (size_t d = 0; ok && d < m->count; d++) {
        struct plan plan;
        if (!matrices_runs(m, d)) {
            continue;
        }
        matrices_folder(out, document_name(m->documents[d]), &folder);
        ok = file_make_folders(text_get(&folder), err) &&
             matrices_plan(m, d, text_get(&folder), &plan, err);
        if (ok) {
            text_add(&folder, "/plan.json");
            ok = plan_write(text_get(&folder), &plan, err);
            plan_finish(&plan);
        }
    }
    text_finish(&folder);
    return ok;
}

#include "matrix/plan.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "matrix/fields.h"
#include "matrix/file.h"

#define PLAN_FORMAT 1
#define PLAN_MAX_BYTES ((size_t)1 << 30) /* a million cells are half of it */

void plan_finish(struct plan *p) {
    free(p->matrix);
    free(p->description);
    free(p->baseline);
    free(p->source);
    for (size_t i = 0; i < p->command_count; i++) {
        free(p->commands[i]);
    }
    free(p->commands);
    cells_finish(&p->cells);
    *p = (struct plan){0};
}

/* Append `command` unless it is there, or is empty. */
static void add_command(struct plan *p, const char *command) {
    for (size_t i = 0; i < p->command_count; i++) {
        if (!strcmp(p->commands[i], command)) {
            return;
        }
    }
    if (*command) {
        size_t bytes = (p->command_count + 1) * sizeof *p->commands;
        p->commands = text_reallocate(p->commands, bytes);
        p->commands[p->command_count++] = text_copy(command);
    }
}

/* Room for `count` more cells. */
static void make_room(struct cells *c, size_t count) {
    c->items = text_reallocate(c->items, (c->count + count) * sizeof *c->items);
}

/* Append a copy of `cell` with texts of its own; make_room() came before. */
static void add_copy(struct cells *c, const struct cell *cell) {
    const struct cell *last = c->count ? &c->items[c->count - 1] : NULL;
    struct cell copy = *cell;
    // An experiment's cells stand together and share its texts.
    bool same = last && !strcmp(last->experiment, cell->experiment) &&
                !strcmp(last->tags, cell->tags);
    copy.matrix = last ? last->matrix : arena_copy(&c->arena, cell->matrix);
    copy.experiment = same ? last->experiment : arena_copy(&c->arena, cell->experiment);
    copy.tags = same ? last->tags : arena_copy(&c->arena, cell->tags);
    copy.id = arena_copy(&c->arena, cell->id);
    copy.excluded = cell->excluded ? arena_copy(&c->arena, cell->excluded) : NULL;
    c->items[c->count++] = copy;
}

/* The id of the one cell that `baseline` names, else `baseline` as it stands. */
static const char *resolve_baseline(const struct cells *c, const char *baseline) {
    const char *id = NULL;
    for (size_t i = 0; i < c->count; i++) {
        const struct cell *cell = &c->items[i];
        if (!strcmp(cell->id, baseline)) {
            return cell->id;
        }
        if (!id && !cell->excluded && !strcmp(cell->experiment, baseline)) {
            id = cell->id;
        }
    }
    return id ? id : baseline;
}

void plan_init(struct plan *p, const struct document *d, const struct cells *cells,
        const char *command) {
    *p = (struct plan){.matrix = text_copy(document_name(d)),
            .description = text_copy(document_description(d)),
            .source = text_copy(document_path(d))};
    add_command(p, command);
    make_room(&p->cells, cells->count);
    for (size_t i = 0; i < cells->count; i++) {
        if (!strcmp(cells->items[i].matrix, p->matrix)) {
            add_copy(&p->cells, &cells->items[i]);
        }
    }
    p->baseline = text_copy(resolve_baseline(&p->cells, document_baseline(d)));
}

static json_t *tags_to_json(const char *tags) {
    json_t *list = json_array();
    for (const char *at = tags + strspn(tags, " "); *at; at += strspn(at, " ")) {
        size_t size = strcspn(at, " ");
        json_array_append_new(list, json_stringn(at, size));
        at += size;
    }
    return list;
}

static json_t *cell_to_json(const struct cell *cell, size_t position) {
    json_t *object = json_pack("{s:o, s:o, s:s, s:I, s:o, s:o, s:b}", "cell",
            fields_string(cell->id), "experiment", fields_string(cell->experiment),
            "hash", cell->hash, "position", (json_int_t)position, "tags",
            tags_to_json(cell->tags), "expect", fields_status_json(cell->expect),
            "from_set", cell->from_set);
    if (cell->excluded) {
        json_object_set_new(object, "because", fields_string(cell->excluded));
    }
    json_object_set_new(object, "params", params_to_json(&cell->params, true));
    return object;
}

json_t *plan_to_json(const struct plan *p, bool selected_only) {
    json_t *cells = json_array(), *excluded = json_array(), *commands = json_array();
    for (size_t i = 0; i < p->command_count; i++) {
        json_array_append_new(commands, fields_string(p->commands[i]));
    }
    for (size_t i = 0; i < p->cells.count; i++) {
        const struct cell *cell = &p->cells.items[i];
        if (cell->selected || !selected_only) {
            json_array_append_new(
                    cell->excluded ? excluded : cells, cell_to_json(cell, i));
        }
    }
    return json_pack("{s:i, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "format", PLAN_FORMAT,
            "matrix", fields_string(p->matrix), "description",
            fields_string(p->description), "baseline", fields_string(p->baseline),
            "source", fields_string(p->source), "commands", commands, "cells", cells,
            "excluded", excluded);
}

bool plan_write(const char *path, const struct plan *p, struct text *err) {
    json_t *root = plan_to_json(p, false);
    char *bytes = json_dumps(root, JSON_INDENT(1));
    struct text whole = {0};
    text_addf(&whole, "%s\n", bytes);
    bool ok = file_write(path, whole.data, whole.size, err);
    text_finish(&whole);
    free(bytes);
    json_decref(root);
    return ok;
}

static bool read_cell(struct cells *c, const json_t *object, size_t *position,
        bool excluded, const char *matrix, const char *name, struct text *err) {
    if (!json_is_object(object)) {
        return text_fail(err, "%s: found a cell that is no object", name);
    }
    struct fields f = {.object = object};
    struct text tags = {0}, wrong = {0};
    struct cell cell = {.matrix = matrix, .selected = true};
    cell.id = fields_text(&f, "cell");
    cell.experiment = fields_text(&f, "experiment");
    cell.expect = fields_status(&f, "expect");
    cell.from_set = fields_boolean(&f, "from_set");
    cell.excluded = excluded ? fields_text(&f, "because") : NULL;
    fields_hash(&f, "hash", cell.hash);
    *position = (size_t)fields_integer(&f, "position", 0, INT_MAX);
    const json_t *list = fields_array(&f, "tags");
    text_add(&tags, " ");
    for (size_t i = 0; i < json_array_size(list); i++) {
        const char *tag = json_string_value(json_array_get(list, i));
        text_addf(&tags, "%s ", tag ? tag : "");
    }
    cell.tags = text_get(&tags);
    const json_t *params = fields_object(&f, "params");
    bool ok = fields_end(&f, name, err) &&
              (params_from_json(&cell.params, params, &wrong) ||
                      text_fail(err, "%s: %s", name, text_get(&wrong)));
    if (ok) {
        add_copy(c, &cell);
    }
    text_finish(&tags);
    text_finish(&wrong);
    return ok;
}

struct placed {
    size_t position;
    struct cell cell;
};

static int by_position(const void *a, const void *b) {
    const struct placed *x = a, *y = b;
    return (x->position > y->position) - (x->position < y->position);
}

/* Put running and excluded cells back among each other, as the file had them. */
static void restore_order(struct cells *c, const size_t *positions) {
    struct placed *placed = text_allocate(c->count * sizeof *placed);
    for (size_t i = 0; i < c->count; i++) {
        placed[i] = (struct placed){positions[i], c->items[i]};
    }
    qsort(placed, c->count, sizeof *placed, by_position);
    for (size_t i = 0; i < c->count; i++) {
        c->items[i] = placed[i].cell;
    }
    free(placed);
}

static bool read_commands(
        struct plan *p, struct fields *f, const char *name, struct text *err) {
    if (!json_object_get(f->object, "commands")) {
        add_command(p, fields_text(f, "command"));
        return true;
    }
    const json_t *list = fields_array(f, "commands");
    for (size_t i = 0; i < json_array_size(list); i++) {
        const char *command = json_string_value(json_array_get(list, i));
        if (!command) {
            return text_fail(err, "%s: found a command that is no text", name);
        }
        add_command(p, command);
    }
    return true;
}

static bool read_root(
        struct plan *p, const json_t *root, const char *name, struct text *err) {
    struct fields f = {.object = root};
    int64_t format = fields_integer(&f, "format", 0, INT_MAX);
    if (!f.wrong && format != PLAN_FORMAT) {
        return text_fail(err, "%s: found format %d, expected %d", name, (int)format,
                PLAN_FORMAT);
    }
    p->matrix = fields_copy(&f, "matrix");
    p->description = fields_copy(&f, "description");
    p->baseline = fields_copy(&f, "baseline");
    p->source = fields_copy(&f, "source");
    bool has_commands = read_commands(p, &f, name, err);
    const json_t *lists[] = {fields_array(&f, "cells"), fields_array(&f, "excluded")};
    if (!has_commands || !fields_end(&f, name, err)) {
        return false;
    }
    size_t room = json_array_size(lists[0]) + json_array_size(lists[1]), count = 0;
    make_room(&p->cells, room);
    size_t *positions = text_allocate(room * sizeof *positions);
    bool ok = true;
    for (int excluded = 0; excluded < 2; excluded++) {
        for (size_t i = 0; ok && i < json_array_size(lists[excluded]); i++) {
            ok = read_cell(&p->cells, json_array_get(lists[excluded], i),
                    &positions[count++], excluded, p->matrix, name, err);
        }
    }
    if (ok) {
        restore_order(&p->cells, positions);
    }
    free(positions);
    return ok;
}

bool plan_parse(const char *name, const char *bytes, size_t size, struct plan *p,
        struct text *err) {
    *p = (struct plan){0};
    json_t *root = fields_parse(name, bytes, size, err);
    if (!root) {
        return false;
    }
    bool ok = read_root(p, root, name, err);
    json_decref(root);
    if (!ok) {
        plan_finish(p);
    }
    return ok;
}

bool plan_read(const char *path, struct plan *p, struct text *err) {
    *p = (struct plan){0};
    struct text bytes = {0};
    bool ok = file_read(path, PLAN_MAX_BYTES, &bytes, err) &&
              plan_parse(path, text_get(&bytes), bytes.size, p, err);
    text_finish(&bytes);
    return ok;
}

/* By id, then hash; in `now` both together name a cell. */
static int by_identity(const void *a, const void *b) {
    const struct cell *x = *(struct cell *const *)a, *y = *(struct cell *const *)b;
    int order = strcmp(x->id, y->id);
    return order ? order : strcmp(x->hash, y->hash);
}

static void merge_commands(struct plan *now, const struct plan *old) {
    struct plan mine = {.commands = now->commands, .command_count = now->command_count};
    now->commands = NULL;
    now->command_count = 0;
    for (size_t i = 0; i < old->command_count; i++) {
        add_command(now, old->commands[i]);
    }
    for (size_t i = 0; i < mine.command_count; i++) {
        add_command(now, mine.commands[i]);
    }
    plan_finish(&mine);
}

void plan_merge(struct plan *now, const struct plan *old) {
    merge_commands(now, old);
    struct cells *c = &now->cells;
    size_t known = c->count;
    make_room(c, old->cells.count);
    struct cell **order = text_allocate(known * sizeof(*order));
    for (size_t i = 0; i < known; i++) {
        order[i] = &c->items[i];
    }
    qsort(order, known, sizeof(*order), by_identity);
    for (size_t i = 0; i < old->cells.count; i++) {
        const struct cell *cell = &old->cells.items[i];
        if (!cell->from_set) {
            continue;
        }
        struct cell **found = bsearch(&cell, order, known, sizeof(*order), by_identity);
        if (!found) {
            add_copy(c, cell);
        } else if ((*found)->excluded && !cell->excluded) {
            (*found)->excluded = NULL;
            (*found)->from_set = true; // so that the next merge brings it back again
        }
    }
    free(order);
}

/*
 * Matrix files: whatever the bytes, reading and expanding them ends soon, in cells that
 * keep their promises or in one sentence.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "matrix/plan.h"
#include "tests/fuzz/fuzz.h"

#define MOST_CELLS 2000

static void check_sentence(bool ok, const struct text *err) {
    fuzz_check(ok == !err->size, "a failure without sentence, or a sentence without");
    fuzz_check(!strchr(text_get(err), '\n'), "a sentence of several lines");
    fuzz_check(ok || strstr(text_get(err), "fuzz.yaml"), "a sentence without place");
    fuzz_check(ok || strstr(text_get(err), "found "), "a sentence without 'found'");
}

static void check_cells(const struct cells *cells) {
    struct text err = {0};
    for (size_t i = 0; i < cells->count; i++) {
        const struct cell *cell = &cells->items[i];
        char hash[13];
        params_hash(&cell->params, hash);
        fuzz_check(!strcmp(hash, cell->hash), "a cell with another's hash");
        fuzz_check(cell->excluded || params_check(&cell->params, &err),
                "an impossible cell that would run");
        fuzz_check(!strncmp(cell->id, cell->experiment, strlen(cell->experiment)),
                "an id that does not start with its experiment");
        fuzz_check(cell->selected && !cell->from_set, "a mark that nobody made");
        fuzz_check(!i || strcmp(cell->id, cells->items[i - 1].id) != 0, "an id twice");
    }
}

/* What plan.json says reads back as the same cells. */
static void check_plan(const struct document *d, const struct cells *cells) {
    struct text err = {0};
    struct plan plan, back;
    plan_init(&plan, d, cells, "runner");
    json_t *root = plan_to_json(&plan, false);
    fuzz_check(root != NULL, "a plan that is no JSON");
    char *bytes = json_dumps(root, JSON_COMPACT);
    fuzz_check(bytes && plan_parse("plan.json", bytes, strlen(bytes), &back, &err),
            text_get(&err));
    fuzz_check(back.cells.count == cells->count, "a plan that lost cells");
    for (size_t i = 0; i < back.cells.count; i++) {
        fuzz_check(!strcmp(back.cells.items[i].id, cells->items[i].id) &&
                           !memcmp(&back.cells.items[i].params, &cells->items[i].params,
                                   sizeof(struct params)),
                "a plan that changed a cell");
    }
    free(bytes);
    json_decref(root);
    plan_finish(&plan);
    plan_finish(&back);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
    struct text err = {0};
    struct document *d = document_parse("fuzz.yaml", (const char *)bytes, size, &err);
    check_sentence(d != NULL, &err);
    text_clear(&err);
    struct selection selection = {.most = MOST_CELLS};
    struct cells cells;
    if (d) {
        bool ok = cells_expand(&d, 1, &selection, &cells, &err);
        check_sentence(ok, &err);
        if (ok) {
            check_cells(&cells);
            check_plan(d, &cells);
            cells_finish(&cells);
        }
    }
    document_destroy(d);
    text_finish(&err);
    return 0;
}

/* What was learnt: over seeds, over steps, and with techniques that must not matter. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "matrix/file.h"
#include "tests/helpers/scene.h"

static void cells_shared_by_experiments_are_no_seeds(void **state) {
    (void)state;
    struct scene s = {0};
    scene_open(&s, "");
    for (int i = 0; i < 3; i++) {
        char id[16];
        snprintf(id, sizeof id, "n%d", i);
        folder_ran(&s.folder, id, id, i < 2 ? "batch=2" : "batch=2 kernel=flash",
                100 - 10 * i, MIB);
    }
    scene_report(&s);
    scene_says(&s, "demo_report.md", "**Fastest**: `n0` (mean of 2 equal cells)");
    scene_is_silent(&s, "demo_report.md", "seeds)");
    scene_close(&s);
}

static void seeds_are_averaged_not_ranked(void **state) {
    (void)state;
    struct scene s = {0};
    scene_open(&s, "");
    for (int i = 0; i < 6; i++) {
        char id[64], settings[64];
        snprintf(id, sizeof id, "n/precision=%s,seed=%d", i < 3 ? "fp32" : "bf16",
                i % 3);
        snprintf(settings, sizeof settings, "precision=%s seed=%d",
                i < 3 ? "fp32" : "bf16", i % 3 + 1);
        struct record *r = folder_ran(&s.folder, "n", id, settings, 100 + i, MIB);
        double loss = 1.88 + 0.01 * (i % 3) + (i < 3 ? 0 : 0.005);
        folder_metric(r, "val_loss", loss);
        folder_metric(r, "val_ppl", exp(loss));
    }
    scene_report(&s);
    scene_says(&s, "demo_report.md", "## Over seeds");
    scene_says(&s, "demo_report.md", "| `precision=fp32` | 3 | 1.890 | 0.01000 |");
    scene_says(&s, "demo_report.md", "(mean of 3 seeds)");
    assert_int_equal(scene_check_csv(&s, "demo_seeds.csv"), 2);
    scene_close(&s);
}

static void report_checkpoint(double loss, const char *deterministic, struct scene *s) {
    scene_open(s, "");
    char settings[128];
    snprintf(settings, sizeof settings, "deterministic=%s", deterministic);
    size_t a = folder_cell(&s->folder, "a", "a", settings, NULL);
    snprintf(settings, sizeof settings, "checkpoint=block deterministic=%s",
            deterministic);
    size_t b = folder_cell(&s->folder, "b", "b", settings, NULL);
    folder_metric(
            folder_attempt(&s->folder, a, STATUS_OK, 100, MIB), "final_loss", 1.0 / 3);
    folder_metric(
            folder_attempt(&s->folder, b, STATUS_OK, 90, MIB / 2), "final_loss", loss);
    scene_report(s);
}

static void what_moves_with_a_learning_rate_may_change_a_loss(void **state) {
    (void)state;
    static const char *const moved[] = {"lr=0.01", "batch=24", "seed=7"};
    for (int i = 0; i < 3; i++) {
        struct scene s = {0};
        char settings[64];
        scene_open(&s, "");
        snprintf(settings, sizeof settings, "checkpoint=block %s", moved[i]);
        folder_metric(folder_ran(&s.folder, "a", "a", "", 100, MIB), "final_loss", 1);
        folder_metric(
                folder_ran(&s.folder, "b", "b", settings, 90, MIB), "final_loss", 2);
        scene_report(&s);
        scene_is_silent(&s, "demo_report.md", "fault of the worker");
        scene_is_silent(&s, "demo_report.md", "the very same losses");
        scene_close(&s);
    }
}

static void checkpointing_that_changes_a_loss_is_called_a_fault(void **state) {
    (void)state;
    struct scene s = {0};
    report_checkpoint(1.0 / 3, "on", &s);
    scene_says(&s, "demo_report.md",
            "- `checkpoint`: the very same losses, bit for bit, in 1 of 1 like pair.");
    scene_close(&s);
    report_checkpoint(nextafter(1.0 / 3, 1), "on", &s);
    scene_says(
            &s, "demo_report.md", "bit for bit, in 0 of 1 like pair. **Not in these");
    scene_says(&s, "demo_report.md", "a fault of the worker**: `b`.");
    scene_close(&s);
    report_checkpoint(0.5, "off", &s);
    scene_is_silent(&s, "demo_report.md", "very same losses");
    scene_close(&s);
}

static void add_events(const struct scene *s, size_t cell, const char *events) {
    const struct cell *c = s->folder.results.plan.cells.items + cell;
    struct text path = {0};
    struct text err = {0};
    results_cell_folder(s->path, c->id, c->hash, &path);
    text_add(&path, "/attempt-1");
    scene_done(file_make_folders(text_get(&path), &err), &err);
    text_add(&path, "/rank0.jsonl");
    scene_done(file_write_quick(text_get(&path), events, strlen(events), &err), &err);
    text_finish(&path);
}

static void steps_come_from_events_and_garbage_is_passed_over(void **state) {
    (void)state;
    struct scene s = {0};
    scene_open(&s, "");
    size_t a = folder_cell(&s.folder, "a", "a", "", NULL);
    folder_attempt(&s.folder, a, STATUS_OK, 100, MIB);
    add_events(&s, a,
            "{\"event\":\"phase\",\"t_ms\":1,\"name\":\"measure\"}\n"
            "{\"event\":\"step\",\"t_ms\":2,\"step\":1,\"loss\":0,\"accuracy\":0.5,"
            "\"lr\":0.001}\n"
            "garbage \"step\" \xff\n"
            "{\"event\":\"step\",\"t_ms\":3,\"step\":2,\"loss\":null}\n"
            "{\"event\":\"step\",\"t_ms\":4,\"st");
    scene_report(&s);
    char *text = scene_read(&s, "demo_steps.csv");
    struct text expected = {0};
    const char *hash = s.folder.results.plan.cells.items[a].hash;
    text_add(&expected, "cell,hash,attempt,step,loss,perplexity,accuracy,lr\n");
    text_addf(&expected, "a,%s,1,1,0,1,0.5,0.001\na,%s,1,2,,,,\n", hash, hash);
    assert_string_equal(text, text_get(&expected));
    text_finish(&expected);
    free(text);
    scene_close(&s);
}

int main(void) {
    const struct CMUnitTest tests[] = {
            cmocka_unit_test(cells_shared_by_experiments_are_no_seeds),
            cmocka_unit_test(seeds_are_averaged_not_ranked),
            cmocka_unit_test(checkpointing_that_changes_a_loss_is_called_a_fault),
            cmocka_unit_test(what_moves_with_a_learning_rate_may_change_a_loss),
            cmocka_unit_test(steps_come_from_events_and_garbage_is_passed_over),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* Memory by kind: what is said of plan and peak holds for the rows that are shown. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/helpers/scene.h"

#define AGREE "Planned and measured agree to the byte."
#define RESERVED "Planned is what was reserved before the first step."
#define BEYOND "what it sees beyond the plan"
#define EXCEEDING                                                                      \
    "PyTorch's kinds can add up to more than its peak: not all of them, gradients "    \
    "above all, need be alive at it."

static void add_native(struct scene *s, double planned) {
    struct record *r = folder_ran(&s->folder, "a", "a", "", 100, 8 * MIB);
    folder_metric(r, "planned_bytes", planned);
    folder_metric(r, "params_bytes", 8 * MIB);
    folder_metric(r, "witness_bytes", 9 * MIB);
}

// Kinds of 7 MiB and the remainder.
static void add_torch(struct scene *s, double peak, double rest) {
    struct record *r =
            folder_ran(&s->folder, "b", "b", "engine=torch batch=2", 100, peak);
    folder_metric(r, "params_bytes", 2 * MIB);
    folder_metric(r, "grads_bytes", 2 * MIB);
    folder_metric(r, "activations_bytes", 3 * MIB);
    folder_metric(r, "scratch_bytes", rest);
    folder_metric(r, "witness_bytes", 9 * MIB);
}

static void plans_are_spoken_of_where_there_are_any(void **state) {
    (void)state;
    struct scene s = {0};
    scene_open(&s, "");
    add_native(&s, 8 * MIB);
    add_torch(&s, 8 * MIB, MIB);
    scene_report(&s);
    scene_says(&s, "demo_report.md", AGREE);
    scene_says(&s, "demo_report.md", BEYOND);
    scene_is_silent(&s, "demo_report.md", RESERVED);
    scene_is_silent(&s, "demo_report.md", EXCEEDING);
    scene_close(&s);

    scene_open(&s, "");
    add_native(&s, 9 * MIB);
    scene_report(&s);
    scene_says(&s, "demo_report.md", RESERVED);
    scene_is_silent(&s, "demo_report.md", AGREE);
    scene_close(&s);
}

static void pytorch_alone_has_no_plan_to_agree_with(void **state) {
    (void)state;
    struct scene s = {0};
    scene_open(&s, "");
    add_torch(&s, 8 * MIB, MIB);
    scene_report(&s);
    scene_says(
            &s, "demo_report.md", "(on a CPU the kernel's) for the whole process.\n");
    scene_is_silent(&s, "demo_report.md", AGREE);
    scene_is_silent(&s, "demo_report.md", RESERVED);
    scene_is_silent(&s, "demo_report.md", BEYOND);
    scene_is_silent(&s, "demo_report.md", EXCEEDING);
    scene_close(&s);
}

static void kinds_beyond_the_peak_are_explained(void **state) {
    (void)state;
    struct scene s = {0};
    scene_open(&s, "");
    add_native(&s, 8 * MIB);
    add_torch(&s, 6 * MIB, 0);
    scene_report(&s);
    scene_says(&s, "demo_report.md", EXCEEDING);
    scene_close(&s);
}

int main(void) {
    const struct CMUnitTest tests[] = {
            cmocka_unit_test(plans_are_spoken_of_where_there_are_any),
            cmocka_unit_test(pytorch_alone_has_no_plan_to_agree_with),
            cmocka_unit_test(kinds_beyond_the_peak_are_explained),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

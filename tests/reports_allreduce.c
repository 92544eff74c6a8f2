/* The report's curves of all-reduces: tables, answer, and what is left out beside them.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "matrix/curve.h"
#include "tests/helpers/scene.h"

/* An attempt of task allreduce with times for `count` sizes from 64 KiB. */
static void add_curve(struct scene *s, size_t at, int count, double ms, double bus) {
    struct record *r = folder_attempt(&s->folder, at, STATUS_OK, NAN, NAN);
    r->allreduce = json_array();
    for (int i = 0; i < count; i++) {
        struct curve_row row = {
                INT64_C(65536) << 2 * i, ms * (i + 1), ms, 9 * ms, bus * (i + 1)};
        json_array_append_new(r->allreduce, curve_row_to_json(&row));
    }
    folder_metric(r, "allreduce_bus_bytes_per_s", bus * count);
    folder_metric(r, "allreduce_latency_ms", ms);
    folder_metric(r, "planned_bytes", 65536);
    if (count < 8) {
        folder_fact(r, "sizes_left_out", "there is | no more");
    }
}

static void curves_stand_side_by_side_and_answer(void **state) {
    (void)state;
    struct scene s = {0};
    scene_open(&s, "");
    static const char *const settings[] = {"task=allreduce ranks=4",
            "task=allreduce engine=torch ranks=2", "task=allreduce ranks=2",
            "task=allreduce ranks=2 precision=bf16"};
    static const char *const ids[] = {"n4", "t2", "n2", "b2"};
    size_t at[4];
    for (int i = 0; i < 4; i++) {
        at[i] = folder_cell(&s.folder, ids[i], ids[i], settings[i], NULL);
    }
    size_t lost = folder_cell(&s.folder, "n8", "n8", "task=allreduce ranks=8", NULL);
    folder_attempt(&s.folder, lost, STATUS_UNSUPPORTED, NAN, NAN);
    add_curve(&s, at[0], 8, 0.5, 1e9);
    add_curve(&s, at[1], 2, 0.25, 2e9);
    add_curve(&s, at[2], 8, 0.125, 3e9);
    add_curve(&s, at[3], 8, 0.0625, 2e9);
    scene_report(&s);
    scene_says(&s, "demo_report.md",
            "How fast the ranks add up:\n\n"
            "- **native, 2 ranks**: at best 24.00 GB/s on the bus (`n2`) and 0.06250 "
            "ms "
            "for 64 KiB (`b2`).\n"
            "- **torch, 2 ranks**: at best 4.000 GB/s on the bus and 0.250 ms for 64 "
            "KiB "
            "(`t2`).\n"
            "- **native, 4 ranks**: at best 8.000 GB/s on the bus and 0.500 ms for 64 "
            "KiB (`n4`).\n");
    scene_says(&s, "demo_report.md",
            "With `precision=fp32`:\n\n"
            "| size | native × 2: ms | native × 2: GB/s | torch × 2: ms | torch × 2: "
            "GB/s | native × 4: ms | native × 4: GB/s |\n"
            "|---:|---:|---:|---:|---:|---:|---:|\n"
            "| 64 KiB | 0.125 | 3.000 | 0.250 | 2.000 | 0.500 | 1.000 |\n"
            "| 256 KiB | 0.250 | 6.000 | 0.500 | 4.000 | 1.000 | 2.000 |\n"
            "| 1 MiB | 0.375 | 9.000 |  |  | 1.500 | 3.000 |\n");
    scene_says(&s, "demo_report.md", "| 1 GiB | 0.500 | 16.00 |\n");
    scene_says(&s, "demo_report.md",
            "Without the largest sizes:\n\n"
            "- `t2` ends at 256 KiB: there is \\| no more.\n\n");
    scene_says(&s, "demo_report.md", "| `n4` | ok | 4 | 8.00G | 0.500 |\n");
    scene_says(&s, "demo_allreduce.csv",
            "cell,hash,engine,precision,ranks,bytes,ms_median,ms_p10,ms_p90,"
            "bus_bytes_per_s\n");
    scene_says(&s, "demo_allreduce.csv",
            ",torch,fp32,2,262144,0.5,0.25,2.25,4000000000\n");
    assert_int_equal(scene_check_csv(&s, "demo_allreduce.csv"), 26);
    // Nothing of what only training has.
    static const char *const silent[] = {"Kernel × wrapper", "By parameter",
            "Memory by kind", "speed-up", "tokens/s", "efficiency", "batch"};
    for (size_t i = 0; i < sizeof silent / sizeof *silent; i++) {
        scene_is_silent(&s, "demo_report.md", silent[i]);
    }
    scene_says(&s, "demo_report.md", "- **all-reduce**: a repetition begins");
    scene_is_silent(&s, "demo_report.md", "NCCL");
    scene_close(&s);
}

static void a_curve_beside_training_is_told_after_it(void **state) {
    (void)state;
    struct scene s = {0};
    scene_open(&s, "a");
    size_t a = folder_cell(&s.folder, "a", "a", "", NULL);
    size_t c = folder_cell(&s.folder, "c", "c", "task=allreduce ranks=2", NULL);
    folder_attempt(&s.folder, a, STATUS_OK, 100, MIB);
    add_curve(&s, c, 8, 0.5, 1e9);
    struct record *r = &s.folder.cells[c].attempts[0].record;
    folder_fact(r, "nccl_version", "2.28.3");
    folder_fact(r, "nccl_path", "AllReduce: 64 Bytes -> Algo RING proto LL");
    scene_report(&s);
    scene_says(&s, "demo_report.md", "- **native, 2 ranks**: at best 8.000 GB/s");
    scene_says(&s, "demo_report.md", "## All-reduce\n");
    scene_says(&s, "demo_report.md",
            "- `c`: NCCL 2.28.3, `AllReduce: 64 Bytes -> Algo RING proto LL`\n");
    scene_says(&s, "demo_report.md", "- **tokens/s**: tokens trained");
    scene_is_silent(&s, "demo_report.md", "Without scaling efficiency");
    scene_is_silent(&s, "demo_report.md", "Without the largest sizes");
    scene_close(&s);
}

static void without_curves_there_is_no_section_of_them(void **state) {
    (void)state;
    struct scene s = {0};
    scene_open(&s, "");
    size_t a = folder_cell(&s.folder, "a", "a", "task=allreduce ranks=2", NULL);
    folder_attempt(&s.folder, a, STATUS_HANG, NAN, NAN);
    scene_report(&s);
    scene_says(&s, "demo_report.md", "No cell has a fresh result that is ok");
    scene_is_silent(&s, "demo_report.md", "## All-reduce");
    assert_false(scene_has(&s, "demo_allreduce.csv"));
    scene_close(&s);
}

int main(void) {
    const struct CMUnitTest tests[] = {
            cmocka_unit_test(curves_stand_side_by_side_and_answer),
            cmocka_unit_test(a_curve_beside_training_is_told_after_it),
            cmocka_unit_test(without_curves_there_is_no_section_of_them),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

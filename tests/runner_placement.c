/* Which CPUs a rank is held to, over folders that look like /sys/bus/pci/devices. */
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "matrix/file.h"
#include "runner/folder.h"
#include "runner/launch.h"
#include "runner/placement.h"

static void lists_are_read_and_written(void **state) {
    (void)state;
    static const char *const same[] = {"0", "0-3", "0-1,3,7-8", "1023"};
    cpu_set_t set;
    for (size_t i = 0; i < sizeof same / sizeof *same; i++) {
        struct text shown = {0};
        assert_true(placement_parse(same[i], &set));
        placement_show(&set, &shown);
        assert_string_equal(text_get(&shown), same[i]);
        text_finish(&shown);
    }
    assert_true(placement_parse("0-31,64-95\n", &set));
    assert_int_equal(CPU_COUNT(&set), 64);
    assert_true(CPU_ISSET(95, &set) && !CPU_ISSET(32, &set));
    assert_true(placement_parse("\n", &set));
    assert_int_equal(CPU_COUNT(&set), 0);
}

static void what_is_no_list_is_no_place(void **state) {
    (void)state;
    static const char *const wrong[] = {
            "x", "1-", "-1", "3-1", "1;2", "1024", "0-1024", " 1", "1 2"};
    cpu_set_t set;
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        assert_false(placement_parse(wrong[i], &set));
        assert_int_equal(CPU_COUNT(&set), 0);
    }
}

/* A device's folder below `root`, with that list of CPUs. */
static void put(const char *root, const char *bus_id, const char *list) {
    struct text path = {0}, err = {0};
    text_addf(&path, "%s/%s", root, bus_id);
    assert_true(file_make_folders(text_get(&path), &err));
    text_add(&path, "/local_cpulist");
    assert_true(file_write_quick(text_get(&path), list, strlen(list), &err));
    text_finish(&path);
}

static void rank_is_held_to_the_cpus_near_its_gpu_that_it_may_use(void **state) {
    (void)state;
    char root[] = "/tmp/lm_placement_XXXXXX";
    cpu_set_t mine, set;
    struct text all = {0}, beyond = {0}, err = {0};
    assert_non_null(mkdtemp(root));
    assert_int_equal(sched_getaffinity(0, sizeof mine, &mine), 0);
    placement_show(&mine, &all);
    put(root, "0000:0a:00.0", text_get(&all));
    put(root, "0000:0b:00.0", "\n");
    put(root, "0000:0c:00.0", "no list\n");
    int first = 0, other = 0;
    while (!CPU_ISSET(first, &mine)) {
        first++;
    }
    while (CPU_ISSET(other, &mine)) {
        other++;
    }
    text_addf(&beyond, "%d\n", other);
    put(root, "0000:0d:00.0", text_get(&beyond));
    text_clear(&beyond);
    text_addf(&beyond, "%d,%d\n", first, other);
    put(root, "0000:0e:00.0", text_get(&beyond));

    assert_true(placement_find(root, "0000:0A:00.0", &set));
    assert_true(CPU_EQUAL(&set, &mine));
    assert_true(placement_find(root, "0000:0e:00.0", &set));
    assert_true(CPU_COUNT(&set) == 1 && CPU_ISSET(first, &set));
    static const char *const nothing[] = {
            "0000:0b:00.0", "0000:0c:00.0", "0000:0d:00.0", "0000:ff:00.0"};
    for (size_t i = 0; i < sizeof nothing / sizeof *nothing; i++) {
        assert_false(placement_find(root, nothing[i], &set));
        assert_int_equal(CPU_COUNT(&set), 0);
    }
    assert_true(folder_remove(root, &err));
    text_finish(&all);
    text_finish(&beyond);
}

static void gpus_of_an_attempt_are_counted_by_rank(void **state) {
    (void)state;
    char numbers[] = "2,0,11";
    struct launch_gpus g = {.numbers = numbers};
    assert_int_equal(launch_gpu_number(&g, 0), 2);
    assert_int_equal(launch_gpu_number(&g, 1), 0);
    assert_int_equal(launch_gpu_number(&g, 2), 11);
    assert_int_equal(launch_gpu_number(&g, 3), -1);
    char none[] = "";
    g.numbers = none;
    assert_int_equal(launch_gpu_number(&g, 0), -1);
    g.numbers = NULL;
    assert_int_equal(launch_gpu_number(&g, 0), -1);
}

int main(void) {
    const struct CMUnitTest tests[] = {
            cmocka_unit_test(lists_are_read_and_written),
            cmocka_unit_test(what_is_no_list_is_no_place),
            cmocka_unit_test(rank_is_held_to_the_cpus_near_its_gpu_that_it_may_use),
            cmocka_unit_test(gpus_of_an_attempt_are_counted_by_rank),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

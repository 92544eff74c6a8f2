/* What a device tells becomes metrics; what it does not tell is left out. */
#include <math.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "matrix/metric.h"
#include "worker/telemetry.h"

#define NEVER_MS 1000000000

/* A device that says what a test wants; another thread finds it at work. */
static struct telemetry told;
static bool tells;
static double busy_mhz;
static pthread_t tester;
static atomic_int asked_at_work;
static size_t free_bytes;

static bool tell(int device, struct telemetry *out) {
    assert_int_equal(device, 3);
    *out = told;
    if (!pthread_equal(pthread_self(), tester)) {
        out->sm_clock_mhz = busy_mhz;
        atomic_fetch_add(&asked_at_work, 1);
    }
    return tells;
}

static bool memory(
        int device, size_t *unused, size_t *total, struct kernel_error *err) {
    (void)err;
    assert_int_equal(device, 3);
    *unused = free_bytes;
    *total = 1000;
    return true;
}

static const struct kernels silent = {.device_memory = memory};
static const struct kernels talking = {.device_memory = memory, .telemetry = tell};

static struct telemetry unknown(void) {
    return (struct telemetry){-1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1};
}

static int prepare(void **state) {
    (void)state;
    tester = pthread_self();
    tells = true;
    busy_mhz = -1;
    free_bytes = 1000;
    told = unknown();
    asked_at_work = 0;
    return 0;
}

static double real(json_t *fields, const char *name) {
    json_t *v = json_object_get(fields, name);
    return v ? json_number_value(v) : NAN;
}

static json_t *window(struct telemetry_watch *w, double tokens, double ms) {
    json_t *fields = json_object();
    telemetry_add_window(w, tokens, ms, fields);
    const char *key;
    json_t *value;
    json_object_foreach(fields, key, value) {
        assert_true(metric_find(key) || strcmp(key, "throttle_reasons") == 0);
    }
    return fields;
}

static void stretch(struct telemetry_watch *w, int64_t from_mj, int64_t to_mj) {
    told.energy_mj = from_mj;
    telemetry_resume(w);
    told.energy_mj = to_mj;
    telemetry_pause(w);
}

static void energy_of_the_stretches_is_shared_out_to_tokens(void **state) {
    (void)state;
    struct telemetry_watch w;
    telemetry_init(&w, &talking, 3);
    w.interval_ms = NEVER_MS;
    stretch(&w, 1000, 5000);
    // What is used between stretches, as by an evaluation, does not count.
    stretch(&w, 95000, 97000);
    json_t *fields = window(&w, 3, 2000);
    assert_float_equal(real(fields, "joules_per_token"), 2, 1e-12);
    json_decref(fields);
    fields = window(&w, 3, 1999);
    assert_null(json_object_get(fields, "joules_per_token"));
    json_decref(fields);
    stretch(&w, 97000, -1);
    fields = window(&w, 3, 5000);
    assert_int_equal(json_object_size(fields), 0);
    json_decref(fields);
    telemetry_finish(&w);
}

static void clocks_are_of_the_work_and_not_of_its_ends(void **state) {
    (void)state;
    struct telemetry_watch w;
    telemetry_init(&w, &talking, 3);
    w.interval_ms = NEVER_MS;
    told.sm_clock_mhz = 300;
    told.sm_clock_max_mhz = 1980;
    told.temperature_c = 40;
    telemetry_resume(&w);
    told.sm_clock_mhz = 500;
    told.temperature_c = 61;
    telemetry_pause(&w);
    // Too short for a sample in between: the ends are all there is.
    json_t *fields = window(&w, 1, 5000);
    assert_float_equal(real(fields, "sm_clock_mhz"), 400, 1e-12);
    assert_float_equal(real(fields, "sm_clock_max_mhz"), 1980, 0);
    assert_float_equal(real(fields, "temperature_c"), 61, 0);
    assert_null(json_object_get(fields, "memory_clock_mhz"));
    json_decref(fields);
    w.interval_ms = 1;
    busy_mhz = 1700;
    told.temperature_c = 50;
    telemetry_resume(&w);
    while (atomic_load(&asked_at_work) < 3) {
        sched_yield();
    }
    telemetry_pause(&w);
    fields = window(&w, 1, 5000);
    assert_float_equal(real(fields, "sm_clock_mhz"), 1700, 1e-9);
    assert_float_equal(real(fields, "temperature_c"), 61, 0);
    json_decref(fields);
    telemetry_finish(&w);
}

static void reasons_and_strangers_of_any_moment_are_kept(void **state) {
    (void)state;
    struct telemetry_watch w;
    telemetry_init(&w, &talking, 3);
    w.interval_ms = NEVER_MS;
    told.reasons = REASON_IDLE | REASON_POWER_CAP;
    told.foreign_processes = 2;
    telemetry_resume(&w);
    told.reasons = REASON_HW_THERMAL;
    told.foreign_processes = 0;
    telemetry_pause(&w);
    json_t *fields = window(&w, 1, 5000);
    assert_string_equal(json_string_value(json_object_get(fields, "throttle_reasons")),
            "power cap, hardware thermal slowdown");
    assert_int_equal(
            json_integer_value(json_object_get(fields, "foreign_processes")), 2);
    json_decref(fields);
    telemetry_finish(&w);
    telemetry_init(&w, &talking, 3);
    told.reasons = REASON_IDLE;
    telemetry_resume(&w);
    telemetry_pause(&w);
    fields = window(&w, 1, 5000);
    assert_string_equal(
            json_string_value(json_object_get(fields, "throttle_reasons")), "none");
    json_decref(fields);
    telemetry_finish(&w);
}

static void memory_beyond_the_plan_has_owners(void **state) {
    (void)state;
    struct telemetry_watch w;
    told.used_bytes = 50; // a stranger's
    telemetry_init(&w, &talking, 3);
    assert_int_equal(w.before_bytes, 50);
    // The process is not in the list: what the device has more in use is ours.
    assert_int_equal(w.context_bytes, 0);
    w.context_bytes = 100;
    told.used_bytes = 180;
    telemetry_stream_made(&w);
    told.own_bytes = 425;
    json_t *fields = json_object();
    telemetry_add_memory(&w, 290, -1, fields);
    assert_float_equal(real(fields, "witness_bytes"), 425, 0);
    assert_float_equal(real(fields, "context_bytes"), 100, 0);
    assert_float_equal(real(fields, "handles_bytes"), 30, 0);
    assert_float_equal(real(fields, "rest_bytes"), 5, 0);
    assert_null(json_object_get(fields, "nccl_bytes"));
    json_object_clear(fields);
    telemetry_add_memory(&w, 250, 40, fields);
    assert_float_equal(real(fields, "nccl_bytes"), 40, 0);
    assert_float_equal(real(fields, "rest_bytes"), 5, 0);
    json_decref(fields);
    telemetry_finish(&w);
}

static void a_silent_device_leaves_all_but_the_witness_unknown(void **state) {
    (void)state;
    for (int without = 0; without < 2; without++) {
        struct telemetry_watch w;
        tells = false;
        telemetry_init(&w, without ? &silent : &talking, 3);
        w.interval_ms = NEVER_MS;
        telemetry_stream_made(&w);
        stretch(&w, 1000, 2000);
        json_t *fields = window(&w, 1, 5000);
        free_bytes = 700;
        telemetry_add_memory(&w, 100, -1, fields);
        assert_float_equal(real(fields, "witness_bytes"), 300, 0);
        assert_int_equal(json_object_size(fields), 1);
        json_decref(fields);
        telemetry_finish(&w);
    }
    struct telemetry_watch none = {0};
    telemetry_resume(&none);
    telemetry_pause(&none);
    assert_int_equal(telemetry_bytes(&none), -1);
    telemetry_finish(&none);
}

int main(void) {
    const struct CMUnitTest tests[] = {
            cmocka_unit_test_setup(
                    energy_of_the_stretches_is_shared_out_to_tokens, prepare),
            cmocka_unit_test_setup(clocks_are_of_the_work_and_not_of_its_ends, prepare),
            cmocka_unit_test_setup(
                    reasons_and_strangers_of_any_moment_are_kept, prepare),
            cmocka_unit_test_setup(memory_beyond_the_plan_has_owners, prepare),
            cmocka_unit_test_setup(
                    a_silent_device_leaves_all_but_the_witness_unknown, prepare),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

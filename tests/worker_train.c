/* What training is made of besides the engine: rates, order statistics, what this build
 * serves, and failures that keep their first reason. */
#include <fcntl.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "worker/attempt.h"
#include "worker/build.h"
#include "worker/inject.h"
#include "worker/measure.h"
#include "worker/schedule.h"
#include "worker/setup.h"
#include "worker/statistics.h"

static struct params with(const char *first, ...) {
    struct params p;
    struct text err = {0};
    params_init(&p);
    va_list args;
    va_start(args, first);
    for (const char *name = first; name; name = va_arg(args, const char *)) {
        enum param which;
        assert_true(axes_find(name, &which));
        if (!params_set(&p, which, va_arg(args, const char *), &err)) {
            fail_msg("%s", text_get(&err));
        }
    }
    va_end(args);
    return p;
}

static void the_rate_rises_and_falls_as_asked(void **state) {
    (void)state;
    struct params p = with("lr", "0.001", "lr_min", "0.0001", "lr_warmup", "100", NULL);
    assert_float_equal(schedule_rate(&p, 0, 2000), 0.001 / 101, 1e-12);
    assert_float_equal(schedule_rate(&p, 99, 2000), 0.001 * 100 / 101, 1e-12);
    assert_float_equal(schedule_rate(&p, 100, 2000), 0.001, 1e-12);
    assert_float_equal(schedule_rate(&p, 1050, 2000), 0.00055, 1e-9);
    assert_true(schedule_rate(&p, 1999, 2000) > 0.0001);
    assert_float_equal(schedule_rate(&p, 1999, 2000), 0.0001, 1e-8);
    assert_true(schedule_rate(&p, 2500, 2000) == schedule_rate(&p, 1999, 2000));
    p = with("lr", "0.001", "lr_min", "0", "lr_warmup", "0", "lr_schedule", "linear",
            NULL);
    assert_float_equal(schedule_rate(&p, 0, 10), 0.001, 1e-12);
    assert_float_equal(schedule_rate(&p, 4, 10), 0.0006, 1e-12);
    p = with("lr", "0.001", "lr_warmup", "2", "lr_schedule", "constant", NULL);
    assert_float_equal(schedule_rate(&p, 1, 10), 0.001 * 2 / 3, 1e-12);
    assert_float_equal(schedule_rate(&p, 9, 10), 0.001, 1e-12);
    // A run shorter than its warm-up never leaves it.
    p = with("lr", "0.001", "lr_warmup", "100", NULL);
    assert_float_equal(schedule_rate(&p, 50, 10), 0.001 * 10 / 101, 1e-12);
}

static void quantiles_lie_between_neighbours(void **state) {
    (void)state;
    double odd[] = {5, 1, 3}, even[] = {4, 1, 3, 2}, one[] = {7};
    assert_float_equal(statistics_quantile(odd, 3, 0.5), 3, 0);
    assert_float_equal(statistics_quantile(even, 4, 0.5), 2.5, 0);
    assert_float_equal(statistics_quantile(even, 4, 0), 1, 0);
    assert_float_equal(statistics_quantile(even, 4, 1), 4, 0);
    assert_float_equal(statistics_quantile(even, 4, 0.1), 1.3, 1e-12);
    assert_float_equal(statistics_quantile(one, 1, 0.9), 7, 0);
    assert_true(isnan(statistics_quantile(one, 0, 0.5)));
}

static void memory_taken_is_seen_by_the_witness(void **state) {
    (void)state;
    const size_t size = 64 << 20;
    int64_t before = measure_resident(), data = measure_data();
    assert_true(before > 0 && data > 0);
    char *memory = mmap(
            NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_true(memory != MAP_FAILED);
    memset(memory, 1, size);
    assert_true(measure_resident() - before > (int64_t)size * 9 / 10);
    assert_true(measure_data() - data >= (int64_t)size);
    munmap(memory, size);
    assert_true(measure_resident() - before < (int64_t)size / 2);
    assert_true(measure_resident_peak() - before > (int64_t)size * 9 / 10);
    assert_true(measure_host_free() > 0);
    assert_true(measure_limit_left() == INT64_MAX || measure_limit_left() > 0);
}

static void refuse(const char *name, const char *value, const char *sentence) {
    struct params p = with(name, value, NULL);
    struct text err = {0};
    assert_false(setup_check(&p, &err));
    assert_string_equal(text_get(&err), sentence);
    text_finish(&err);
}

static void what_is_not_served_is_said(void **state) {
    (void)state;
    struct params p = with("task", "noop", "batch", "max", NULL);
    struct text err = {0};
    assert_true(setup_check(&p, &err));
    refuse("device", "cuda", "device cuda: worker-cpu serves the CPU only");
    refuse("engine", "torch", "engine torch: this worker is the native engine");
    refuse("task", "attention",
            "task attention: this version knows train, allreduce and noop");
    refuse("graph", "on", "graph on: a CPU has no graphs");
    refuse("batch", "max",
            "batch max: the runner finds the largest batch when the cell runs");
}

static void sizes_left_open_are_filled_in(void **state) {
    (void)state;
    struct params p = with("global_batch", "24", "ranks", "3", "accumulate", "2",
            "threads", "2", NULL);
    struct engine_options o;
    struct text err = {0};
    assert_true(setup_options(&p, 256, &o, &err));
    assert_int_equal(o.batch, 4);
    assert_int_equal(o.vocab, 256);
    assert_int_equal(o.world, 3);
    assert_int_equal(o.threads, 2);
    p = with("vocab", "300", "batch", "5", NULL);
    assert_true(setup_options(&p, 256, &o, &err));
    assert_int_equal(o.vocab, 300);
    assert_int_equal(o.batch, 5);
    p = with("vocab", "200", NULL);
    assert_false(setup_options(&p, 256, &o, &err));
    assert_string_equal(text_get(&err),
            "vocab 200 is smaller than the tokenizer's 256: some tokens would have no "
            "row");
    text_finish(&err);
}

static void a_fault_strikes_once_and_on_its_rank(void **state) {
    (void)state;
    struct attempt a = {.rank = 1, .world = 2};
    a.spec.params = with("inject", "exit", "inject_rank", "1", "inject_step", "3",
            "ranks", "2", NULL);
    for (int64_t step = 1; step < 10; step++) {
        assert_int_equal(inject_is_due(&a, step), step == 3);
    }
    assert_true(inject_check(&a, 3));
    a.rank = 0;
    assert_false(inject_is_due(&a, 3));
    assert_false(inject_check(&a, 2));
    assert_string_equal(
            text_get(&a.sentence), "inject_step 3 is past the last step, 2");
    attempt_finish(&a);
    a = (struct attempt){.world = 1};
    a.spec.params = with("inject", "exit", "inject_rank", "1", "ranks", "2", NULL);
    assert_false(inject_check(&a, 10));
    assert_string_equal(text_get(&a.sentence), "inject_rank 1: the ranks are 0 to 0");
    attempt_finish(&a);
}

static void a_fault_of_a_phase_strikes_there_only(void **state) {
    (void)state;
    struct attempt a = {.rank = 1, .world = 2};
    a.spec.params = with("inject", "hang", "inject_rank", "1", "inject_phase", "eval",
            "ranks", "2", "inject_step", "9", NULL);
    for (int64_t step = 1; step < 10; step++) {
        assert_false(inject_is_due(&a, step));
    }
    assert_true(inject_is_due_in(&a, "eval"));
    assert_false(inject_is_due_in(&a, "start"));
    assert_true(inject_check(&a, 3)); // inject_step has no say then
    a.rank = 0;
    assert_false(inject_is_due_in(&a, "eval"));
    a.spec.params = with("inject", "nan", "inject_phase", "eval", NULL);
    assert_true(inject_check(&a, 3));
    a.spec.params = with("inject", "nan", "inject_phase", "start", NULL);
    assert_false(inject_check(&a, 3));
    assert_string_equal(text_get(&a.sentence),
            "inject nan: no loss is looked at in phase start, only in step and eval");
    attempt_finish(&a);
    a = (struct attempt){.world = 1};
    a.spec.params = with("inject_phase", "eval", NULL);
    assert_false(inject_is_due_in(&a, "eval"));
}

static void the_first_failure_is_the_one_told(void **state) {
    (void)state;
    int fd = memfd_create("events", MFD_CLOEXEC);
    assert_true(fd >= 0);
    struct attempt a = {.phase = "measure", .step = 7, .bytes_asked = -1};
    event_writer_init(&a.events, fd);
    struct kernel_error why = {
            .kind = KERNEL_OUT_OF_MEMORY, .bytes_asked = 10, .bytes_free = 3};
    struct text err = {0};
    text_add(&err, "no room");
    assert_false(attempt_fail_kernel(&a, &why, &err));
    assert_int_equal(err.size, 0);
    assert_false(attempt_fail(&a, STATUS_FAILED, "something else"));
    attempt_report_failure(&a);
    char line[1000];
    ssize_t size = pread(fd, line, sizeof line, 0);
    assert_true(size > 1 && line[size - 1] == '\n');
    struct event e;
    assert_true(event_parse(line, (size_t)size - 1, &e, &err));
    assert_int_equal(e.kind, EVENT_ERROR);
    assert_string_equal(event_text(&e, "kind", ""), "oom_host");
    assert_string_equal(event_text(&e, "text", ""), "no room");
    assert_string_equal(event_text(&e, "phase", ""), "measure");
    assert_int_equal(event_integer(&e, "step", -1), 7);
    assert_int_equal(event_integer(&e, "bytes_asked", -1), 10);
    assert_int_equal(event_integer(&e, "bytes_free", -1), 3);
    event_finish(&e);
    attempt_finish(&a);
    text_finish(&err);
    close(fd);
}

static void the_place_comes_from_the_environment(void **state) {
    (void)state;
    struct attempt a;
    struct text err = {0};
    assert_true(attempt_init(&a, &err));
    assert_int_equal(a.world, 1);
    assert_int_equal(a.events.fd, STDOUT_FILENO);
    setenv("LM_RANK", "2", 1);
    setenv("LM_WORLD", "4", 1);
    setenv("LM_EVENT_FD", "5", 1);
    assert_true(attempt_init(&a, &err));
    assert_int_equal(a.rank, 2);
    assert_int_equal(a.local_rank, 2);
    assert_int_equal(a.events.fd, 5);
    setenv("LM_WORLD", "4x", 1);
    assert_false(attempt_init(&a, &err));
    assert_string_equal(
            text_get(&err), "LM_WORLD is '4x', expected a whole number from 0");
    text_finish(&err);
    unsetenv("LM_RANK");
    unsetenv("LM_WORLD");
    unsetenv("LM_EVENT_FD");
}

static void a_long_step_shows_signs_of_life(void **state) {
    (void)state;
    struct attempt a = {.phase = "measure", .step = 3};
    int ends[2];
    char line[200] = "";
    assert_int_equal(pipe2(ends, O_CLOEXEC | O_NONBLOCK), 0);
    event_writer_init(&a.events, ends[1]);
    int64_t hour = INT64_C(3600000000000);
    a.events.last_ns += hour; // something was said just now
    attempt_live(&a);
    assert_int_equal(read(ends[0], line, sizeof line - 1), -1);
    a.events.last_ns -= hour + 2000000000;
    attempt_live(&a);
    assert_true(read(ends[0], line, sizeof line - 1) > 0);
    assert_non_null(strstr(line, "\"progress\""));
    assert_non_null(strstr(line, "\"measure\",\"done\":3"));
    assert_true(attempt_is_silent(&a)); // the step's own event is still due
    a.alive_ns += hour;
    attempt_live(&a);
    assert_int_equal(read(ends[0], line, sizeof line - 1), -1);
    assert_int_equal(a.status, STATUS_OK);
    close(ends[0]);
    close(ends[1]);
}

static void the_build_has_an_id(void **state) {
    (void)state;
    assert_int_equal(strlen(build_id()), 40); // SHA-1
    assert_int_equal(strspn(build_id(), "0123456789abcdef"), 40);
}

int main(void) {
    const struct CMUnitTest tests[] = {
            cmocka_unit_test(the_rate_rises_and_falls_as_asked),
            cmocka_unit_test(quantiles_lie_between_neighbours),
            cmocka_unit_test(memory_taken_is_seen_by_the_witness),
            cmocka_unit_test(what_is_not_served_is_said),
            cmocka_unit_test(sizes_left_open_are_filled_in),
            cmocka_unit_test(a_fault_strikes_once_and_on_its_rank),
            cmocka_unit_test(a_fault_of_a_phase_strikes_there_only),
            cmocka_unit_test(the_first_failure_is_the_one_told),
            cmocka_unit_test(the_place_comes_from_the_environment),
            cmocka_unit_test(a_long_step_shows_signs_of_life),
            cmocka_unit_test(the_build_has_an_id),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* Event lines: what the writer sends the reader understands; garbage is named. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <unistd.h>

#include "matrix/event.h"

/* The next line that came through a pipe, without its newline. */
static size_t read_line(int fd, char *line, size_t capacity) {
    ssize_t size = read(fd, line, capacity);
    assert_true(size > 0);
    assert_int_equal(line[size - 1], '\n');
    assert_null(memchr(line, '\n', (size_t)size - 1));
    return (size_t)size - 1;
}

static void what_is_sent_parses_back(void **state) {
    (void)state;
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    struct event_writer w;
    struct text err = {0};
    struct event e;
    char line[4096];
    event_writer_init(&w, ends[1]);
    assert_true(event_send(&w, "hello", &err, "{s:i, s:s, s:s, s:i}", "protocol",
            EVENT_PROTOCOL, "build", "abc", "device", "cpu", "pid", 7));
    assert_true(event_parse(line, read_line(ends[0], line, sizeof line), &e, &err));
    assert_int_equal(e.kind, EVENT_HELLO);
    assert_string_equal(event_text(&e, "build", ""), "abc");
    assert_int_equal(event_integer(&e, "pid", -1), 7);
    event_finish(&e);

    assert_true(event_send(&w, "step", &err, "{s:i, s:o, s:o}", "step", 3, "loss",
            event_number(0.1), "grad_norm", event_number(NAN)));
    assert_true(event_parse(line, read_line(ends[0], line, sizeof line), &e, &err));
    assert_int_equal(e.kind, EVENT_STEP);
    assert_true(e.t_ms >= 0);
    assert_true(event_real(&e, "loss", -1) == 0.1);
    assert_true(event_real(&e, "grad_norm", -1) == -1);
    assert_true(event_real(&e, "nosuch", -2) == -2);
    event_finish(&e);

    json_t *fields = json_object();
    json_object_set_new(fields, "tokens_per_s", event_number(1e6));
    assert_true(event_send_object(&w, "result", fields, &err));
    assert_true(event_parse(line, read_line(ends[0], line, sizeof line), &e, &err));
    assert_int_equal(e.kind, EVENT_RESULT);
    assert_true(event_real(&e, "tokens_per_s", 0) == 1e6);
    event_finish(&e);
    event_finish(&e);
    close(ends[0]);
    close(ends[1]);
}

static void a_write_that_fails_says_so(void **state) {
    (void)state;
    struct event_writer w;
    struct text err = {0};
    event_writer_init(&w, -1);
    assert_false(event_send(&w, "phase", &err, "{s:s}", "name", "start"));
    assert_string_equal(text_get(&err), "cannot write an event: Bad file descriptor");
    text_finish(&err);
    FILE *full = fopen("/dev/full", "w");
    if (full) {
        event_writer_init(&w, fileno(full));
        assert_false(event_send(&w, "phase", &err, "{s:s}", "name", "start"));
        assert_string_equal(
                text_get(&err), "cannot write an event: No space left on device");
        text_finish(&err);
        fclose(full);
    }
}

static void unknown_events_and_fields_are_ignored(void **state) {
    (void)state;
    struct event e;
    struct text err = {0};
    const char *line = "{\"event\": \"weather\", \"t_ms\": 5, \"step\": \"x\"}";
    assert_true(event_parse(line, strlen(line), &e, &err));
    assert_int_equal(e.kind, EVENT_OTHER);
    assert_int_equal(e.t_ms, 5);
    event_finish(&e);
    line = "{\"event\": \"phase\", \"t_ms\": 5, \"name\": \"eval\", \"new\": [1]}";
    assert_true(event_parse(line, strlen(line), &e, &err));
    assert_int_equal(e.kind, EVENT_PHASE);
    event_finish(&e);
}

static void garbage_is_refused_in_a_sentence(void **state) {
    (void)state;
    static const struct {
        const char *line, *sentence;
    } rows[] = {
            {"[1]", "found a line that is no JSON object (another value)"},
            {"{\"t_ms\": 1}", "found an object without 'event'"},
            {"{\"event\": 1, \"t_ms\": 1}", "found an object without 'event'"},
            {"{\"event\": \"step\"}", "found an object without 't_ms'"},
            {"{\"event\": \"step\", \"t_ms\": -1}", "found an object without 't_ms'"},
            {"{\"event\": \"step\", \"t_ms\": 1}",
                    "found an event 'step' without a valid 'step'"},
            {"{\"event\": \"step\", \"t_ms\": 1, \"step\": 1, \"loss\": \"low\"}",
                    "found an event 'step' without a valid 'loss'"},
            {"{\"event\": \"hello\", \"t_ms\": 1}",
                    "found an event 'hello' without a valid 'protocol'"},
            {"{\"event\": \"hello\", \"t_ms\": 1, \"protocol\": 2}",
                    "found protocol 2, expected 1"},
            {"{\"event\": \"phase\", \"t_ms\": 1, \"name\": 4}",
                    "found an event 'phase' without a valid 'name'"},
            {"{\"event\": \"error\", \"t_ms\": 1, \"kind\": \"bad\"}",
                    "found error kind 'bad', expected a status of an attempt"},
            {"{\"event\": \"error\", \"t_ms\": 1, \"kind\": \"ok\"}",
                    "found error kind 'ok', expected a status of an attempt"},
            {"{\"event\": \"result\", \"t_ms\": 1, \"val_loss\": \"x\"}",
                    "found a result whose 'val_loss' is no number"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct event e;
        struct text err = {0};
        assert_false(event_parse(rows[i].line, strlen(rows[i].line), &e, &err));
        assert_string_equal(text_get(&err), rows[i].sentence);
        assert_null(e.body);
        text_finish(&err);
    }
    static const char *const broken[] = {"", "x", "{", "{\"event\": \"step\", ",
            "{\"event\": \"step\", \"t_ms\": NaN}", "\xff\xfe",
            "{\"event\": \"phase\", \"event\": \"phase\", \"t_ms\": 1}"};
    for (size_t i = 0; i < sizeof broken / sizeof *broken; i++) {
        struct event e;
        struct text err = {0};
        assert_false(event_parse(broken[i], strlen(broken[i]), &e, &err));
        assert_non_null(strstr(text_get(&err), "found a line that is no JSON object"));
        text_finish(&err);
    }
}

static void a_line_too_long_is_refused(void **state) {
    (void)state;
    struct event e;
    struct text err = {0};
    char *line = malloc(EVENT_LINE_MAX + 1);
    memset(line, ' ', EVENT_LINE_MAX + 1);
    assert_false(event_parse(line, EVENT_LINE_MAX + 1, &e, &err));
    assert_string_equal(text_get(&err), "found an event line longer than 65536 bytes");
    text_finish(&err);
    free(line);
}

int main(void) {
    const struct CMUnitTest tests[] = {
            cmocka_unit_test(what_is_sent_parses_back),
            cmocka_unit_test(a_write_that_fails_says_so),
            cmocka_unit_test(unknown_events_and_fields_are_ignored),
            cmocka_unit_test(garbage_is_refused_in_a_sentence),
            cmocka_unit_test(a_line_too_long_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

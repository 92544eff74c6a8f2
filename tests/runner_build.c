/* What a script says that it is, and what becomes of one that does not say it. */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "matrix/file.h"
#include "runner/build.h"
#include "runner/folder.h"

struct scripts {
    char folder[64], interpreter[96], script[96], started[96];
};

static int set_up(void **state) {
    struct scripts *s = text_allocate_zeroed(1, sizeof *s);
    snprintf(s->folder, sizeof s->folder, "/tmp/lm_build_XXXXXX");
    assert_non_null(mkdtemp(s->folder));
    snprintf(s->interpreter, sizeof s->interpreter, "%s/interpreter", s->folder);
    snprintf(s->script, sizeof s->script, "%s/worker.py", s->folder);
    snprintf(s->started, sizeof s->started, "%s/started", s->folder);
    setenv("STARTED", s->started, 1);
    setenv("LM_PYTHON", s->interpreter, 1);
    *state = s;
    return 0;
}

static int tear_down(void **state) {
    struct scripts *s = *state;
    struct text err = {0};
    assert_true(folder_remove(s->folder, &err));
    free(s);
    return 0;
}

static void write_file(const char *path, const char *content) {
    FILE *f = fopen(path, "we");
    assert_non_null(f);
    fputs(content, f);
    assert_int_equal(fclose(f), 0);
}

/* What the script is by an interpreter that starts another process, then does `last`.
 */
static void identify(struct scripts *s, const char *last, struct text *out) {
    struct text content = {0}, err = {0};
    text_addf(&content, "#!/bin/sh\nsleep 777 &\necho $! >\"$STARTED\"\n%s\n", last);
    write_file(s->interpreter, text_get(&content));
    write_file(s->script, "");
    assert_int_equal(chmod(s->interpreter, 0755), 0);
    char *argv[] = {s->interpreter, s->script, NULL};
    assert_true(build_identify(argv, out, &err));
    text_finish(&content);
}

/* Killed by now; whoever adopts it reaps it soon. */
static void what_it_started_is_gone(const struct scripts *s) {
    struct text pid = {0}, err = {0};
    assert_true(file_read(s->started, 64, &pid, &err));
    pid_t started = (pid_t)strtol(text_get(&pid), NULL, 10);
    assert_true(started > 1);
    char path[64], state = 'Z';
    snprintf(path, sizeof path, "/proc/%d/stat", (int)started);
    for (int i = 0; i < 1000; i++) {
        FILE *f = fopen(path, "re");
        if (!f || fscanf(f, "%*d %*s %c", &state) != 1 || state == 'Z') {
            if (f) {
                fclose(f);
            }
            text_finish(&pid);
            return;
        }
        fclose(f);
        usleep(10000);
    }
    kill(started, SIGKILL);
    fail_msg("process %d was left behind", (int)started);
}

static void script_that_answers_is_what_it_says(void **state) {
    struct scripts *s = *state;
    struct text build = {0};
    identify(s, "echo torch-9", &build);
    assert_string_equal(text_get(&build), "torch-9");
    assert_string_equal(build_unanswered(), "");
    what_it_started_is_gone(s);
    text_finish(&build);
}

/* It prints without end besides, of which nothing is kept. */
static void script_that_does_not_answer_in_time_is_told_of(void **state) {
    struct scripts *s = *state;
    struct text build = {0}, sentence = {0};
    identify(s, "while :; do echo nonsense; done", &build);
    assert_int_equal(strncmp(text_get(&build), "sha256:", 7), 0);
    text_addf(&sentence,
            "LM_PYTHON: found that '%s %s --build' did not answer within 30 s, "
            "expected an interpreter that starts",
            s->interpreter, s->script);
    assert_string_equal(build_unanswered(), text_get(&sentence));
    what_it_started_is_gone(s);
    text_finish(&build);
    text_finish(&sentence);
}

int main(void) {
    const struct CMUnitTest tests[] = {
            cmocka_unit_test_setup_teardown(
                    script_that_answers_is_what_it_says, set_up, tear_down),
            cmocka_unit_test_setup_teardown(
                    script_that_does_not_answer_in_time_is_told_of, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

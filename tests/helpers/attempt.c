#include "tests/helpers/attempt.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "matrix/file.h"
#include "matrix/owner.h"
#include "runner/family.h"
#include "runner/folder.h"

static char runner_path[4096], worker_path[4096];

int attempt_set_up(void **state) {
    struct attempt *a = text_allocate_zeroed(1, sizeof *a);
    const char *build = getenv("LM_BUILD");
    snprintf(runner_path, sizeof runner_path, "%s/runner", build ? build : "build");
    snprintf(worker_path, sizeof worker_path, "%s/tests/misbehave",
            build ? build : "build");
    snprintf(a->folder, sizeof a->folder, "/tmp/lm_supervise_XXXXXX");
    assert_non_null(mkdtemp(a->folder));
    a->spec.matrix = text_copy("test");
    a->spec.cell = text_copy("test");
    snprintf(a->spec.hash, sizeof a->spec.hash, "0123456789ab");
    a->spec.attempt = 1;
    a->spec.expect = -1;
    a->spec.worker = text_allocate_zeroed(2, sizeof *a->spec.worker);
    a->spec.worker[0] = text_copy(worker_path);
    params_init(&a->spec.params);
    *state = a;
    return 0;
}

int attempt_tear_down(void **state) {
    struct attempt *a = *state;
    struct text err = {0};
    record_finish(&a->record);
    spec_finish(&a->spec);
    assert_true(folder_remove(a->folder, &err));
    free(a);
    return 0;
}

void attempt_set(struct attempt *a, enum param which, const char *value) {
    struct text err = {0};
    if (!params_set(&a->spec.params, which, value, &err)) {
        fail_msg("%s", text_get(&err));
    }
}

void attempt_ranks(struct attempt *a, const char *count) {
    attempt_set(a, PARAM_RANKS, count);
    attempt_set(a, PARAM_DDP, "naive");
}

void attempt_tell(struct attempt *a, const char *act) {
    char env[160];
    snprintf(env, sizeof env, "{\"MISBEHAVE\":\"%s\"}", act);
    attempt_set(a, PARAM_ENV, env);
}

void attempt_tell_rank(struct attempt *a, const char *act, int rank) {
    char env[160];
    snprintf(env, sizeof env, "{\"MISBEHAVE\":\"%s\",\"MISBEHAVE_RANK\":\"%d\"}", act,
            rank);
    attempt_ranks(a, "2");
    attempt_set(a, PARAM_ENV, env);
}

void attempt_path(const struct attempt *a, const char *name, char out[128]) {
    snprintf(out, 128, "%s/%s", a->folder, name);
}

struct child attempt_start(struct attempt *a) {
    struct text err = {0};
    char path[128];
    attempt_path(a, "spec.json", path);
    assert_true(spec_write(path, &a->spec, &err));
    char *none[] = {NULL};
    char **environment = child_make_environment(none);
    a->supervise[0] = runner_path;
    a->supervise[1] = "supervise";
    a->supervise[2] = a->folder;
    struct child_spec spec = {.argv = a->supervise,
            .envp = environment,
            .stdin_fd = -1,
            .stdout_fd = -1,
            .stderr_fd = STDERR_FILENO,
            .cgroup_fd = -1};
    struct child c;
    if (!child_start(&c, &spec, &err)) {
        fail_msg("%s", text_get(&err));
    }
    child_free_environment(environment);
    return c;
}

void attempt_await(struct attempt *a, int lines) {
    char path[128];
    attempt_path(a, "rank0.jsonl", path);
    for (int i = 0; i < 2000; i++) {
        struct text t = {0}, ignored = {0};
        int have = 0;
        if (file_read(path, 1 << 20, &t, &ignored)) {
            for (size_t k = 0; k < t.size; k++) {
                have += t.data[k] == '\n';
            }
        }
        text_finish(&t);
        text_finish(&ignored);
        if (have >= lines) {
            return;
        }
        usleep(5000);
    }
    fail_msg("no events came");
}

/* Nothing that the attempt started may be alive, wherever it went. */
static void nothing_is_left(struct attempt *a) {
    struct owner o = {0};
    struct text err = {0};
    char path[128];
    attempt_path(a, "owner.json", path);
    assert_true(owner_read(path, &o, &err));
    assert_int_equal(family_kill_nonce(o.nonce, 1000), 0);
    if (o.cgroup) {
        assert_int_not_equal(access(o.cgroup, F_OK), 0);
    }
    owner_finish(&o);
}

void attempt_collect(struct attempt *a, struct child *c, enum status status) {
    struct child_end end;
    struct text err = {0};
    char path[128];
    child_reap(c, &end);
    assert_int_equal(end.signal, 0);
    assert_int_equal(end.exit_code, 0);
    attempt_path(a, "record.json", path);
    if (!record_read(path, &a->record, &err)) {
        fail_msg("%s", text_get(&err));
    }
    nothing_is_left(a);
    if (a->record.status != status) {
        fail_msg("status is %s (%s), expected %s", status_name(a->record.status),
                a->record.error, status_name(status));
    }
}

void attempt_run(struct attempt *a, enum status status) {
    struct child c = attempt_start(a);
    attempt_collect(a, &c, status);
}

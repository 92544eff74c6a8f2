/* A rank that is stuck says that it waits exactly where another has yet to come. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "worker/lookout.h"

#define DEADLINE_MS 60000

struct scene {
    struct comm *comms[2];
    struct comm_options options[2];
    void *base;
    size_t base_bytes;
    struct attempt attempt; /* rank 0's */
    struct lookout lookout;
    FILE *events;
};

static void *join(void *argument) {
    struct comm_options *o = argument;
    struct text err = {0};
    struct comm *c = NULL;
    return comm_create(o, &c, &err) ? c : NULL;
}

static int set_up(void **state) {
    struct scene *s = text_allocate_zeroed(1, sizeof *s);
    s->base_bytes = comm_shared_bytes(NULL, 2, 64);
    s->base = mmap(NULL, s->base_bytes, PROT_READ | PROT_WRITE,
            MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_true(s->base != MAP_FAILED);
    pthread_t threads[2];
    for (int r = 0; r < 2; r++) {
        s->options[r] = (struct comm_options){.rank = r,
                .world = 2,
                .shm_fd = -1,
                .base = s->base,
                .base_bytes = s->base_bytes,
                .bytes = 64,
                .kernels = kernels_cpu(),
                .deadline_ms = DEADLINE_MS};
        assert_int_equal(pthread_create(&threads[r], NULL, join, &s->options[r]), 0);
    }
    for (int r = 0; r < 2; r++) {
        void *c;
        pthread_join(threads[r], &c);
        assert_non_null(c);
        s->comms[r] = c;
    }
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    s->events = fdopen(ends[0], "r");
    s->attempt.phase = "measure";
    s->attempt.step = 3;
    event_writer_init(&s->attempt.events, ends[1]);
    *state = s;
    return 0;
}

static int tear_down(void **state) {
    struct scene *s = *state;
    lookout_stop(&s->lookout);
    comm_destroy(s->comms[0]);
    comm_destroy(s->comms[1]);
    munmap(s->base, s->base_bytes);
    close(s->attempt.events.fd);
    fclose(s->events);
    free(s);
    return 0;
}

static void look(struct scene *s) {
    struct kernel_error why = {0};
    lookout_prepare(&s->lookout, &s->attempt, &s->options[0]);
    assert_true(lookout_start(&s->lookout, s->comms[0], &why));
}

static void says_that_it_waits(struct scene *s) {
    char line[400];
    assert_non_null(fgets(line, sizeof line, s->events));
    assert_non_null(strstr(line, "\"event\":\"progress\""));
    assert_non_null(strstr(line, "\"phase\":\"measure\",\"done\":3,\"waiting\":true"));
}

static void rank_that_is_ahead_says_so_again_and_again(void **state) {
    struct scene *s = *state;
    comm_announce(s->comms[1], 3);
    comm_announce(s->comms[0], 4);
    look(s);
    says_that_it_waits(s);
    says_that_it_waits(s);
}

static void first_step_of_all_is_waited_for_too(void **state) {
    struct scene *s = *state;
    comm_announce(s->comms[0], 0);
    look(s);
    says_that_it_waits(s);
}

static void silence_means_trouble_where_nobody_is_behind(void **state) {
    struct scene *s = *state;
    comm_announce(s->comms[0], 4);
    comm_announce(s->comms[1], 5);
    look(s);
    // Longer than it takes to say so; then what is read first came after this.
    nanosleep(&(struct timespec){1, 600 * 1000 * 1000}, NULL);
    struct text err = {0};
    assert_true(event_send(&s->attempt.events, "progress", &err, "{s:i}", "mark", 1));
    comm_announce(s->comms[0], 6);
    char line[400];
    assert_non_null(fgets(line, sizeof line, s->events));
    assert_non_null(strstr(line, "\"mark\":1"));
    says_that_it_waits(s);
}

/* However soon after: else a rank would count as waiting until a second had passed. */
static void rank_that_goes_on_says_so_at_once(void **state) {
    struct scene *s = *state;
    char line[400];
    attempt_waiting(&s->attempt);
    says_that_it_waits(s);
    assert_true(attempt_is_silent(&s->attempt));
    lookout_prepare(&s->lookout, &s->attempt, &s->options[0]);
    s->options[0].moving(s->options[0].user);
    assert_non_null(fgets(line, sizeof line, s->events));
    assert_non_null(strstr(line, "\"event\":\"progress\""));
    assert_null(strstr(line, "waiting"));
    attempt_waiting(&s->attempt);
    says_that_it_waits(s);
    assert_true(attempt_phase(&s->attempt, "end"));
    assert_false(s->attempt.waits);
}

static void one_that_was_never_started_may_be_stopped(void **state) {
    struct scene *s = *state;
    lookout_stop(&s->lookout);
}

static bool broken_device(
        int device, size_t *unused, size_t *total, struct kernel_error *err) {
    (void)device;
    (void)unused;
    (void)total;
    return kernel_fail(err, KERNEL_DEVICE_FAULT, "an illegal memory access");
}

/* What the rank says last, where its communicator has failed. */
static void loses_another(struct scene *s, const struct kernels *kernels,
        const char *kind, const char *text, const char *collateral) {
    s->options[0].kernels = kernels;
    lookout_prepare(&s->lookout, &s->attempt, &s->options[0]);
    pid_t pid = fork();
    if (pid == 0) {
        s->options[0].failed(s->options[0].user, "NCCL: a remote process \"exited\"");
        _exit(0);
    }
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 1);
    char line[400];
    assert_non_null(fgets(line, sizeof line, s->events));
    assert_non_null(strstr(line, "\"phase\":\"measure\",\"step\":3"));
    assert_non_null(strstr(line, kind));
    assert_non_null(strstr(line, text));
    assert_non_null(strstr(line, collateral));
}

static void rank_that_loses_another_says_so_and_is_gone(void **state) {
    loses_another(*state, kernels_cpu(), "\"kind\":\"failed\"",
            "a remote process \\\"exited\\\"", "\"collateral\":true");
}

static void rank_whose_own_device_has_failed_blames_nobody(void **state) {
    struct kernels broken = *kernels_cpu();
    broken.device_memory = broken_device;
    loses_another(*state, &broken, "\"kind\":\"crashed\"", "an illegal memory access",
            "\"collateral\":false");
}

int main(void) {
#define T(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
    const struct CMUnitTest tests[] = {
            T(rank_that_is_ahead_says_so_again_and_again),
            T(first_step_of_all_is_waited_for_too),
            T(silence_means_trouble_where_nobody_is_behind),
            T(rank_that_goes_on_says_so_at_once),
            T(one_that_was_never_started_may_be_stopped),
            T(rank_that_loses_another_says_so_and_is_gone),
            T(rank_whose_own_device_has_failed_blames_nobody),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

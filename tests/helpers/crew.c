#include "tests/helpers/crew.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

struct rank {
    struct comm_options options;
    crew_fn body;
    const char *failed; // NULL: all as it should be
    pthread_t thread;
};

static void *run(void *argument) {
    struct rank *r = argument;
    struct text err = {0};
    struct comm *c;
    if (!comm_create(&r->options, &c, &err)) {
        r->failed = text_take(&err);
        return NULL;
    }
    r->failed = r->body(c, r->options.rank, r->options.world);
    comm_destroy(c);
    return NULL;
}

static void tell_waiting(void *user) {
    ((struct crew_told *)user)->waiting++;
}

static void tell_moving(void *user) {
    ((struct crew_told *)user)->moving++;
}

void crew_run_threads(int world, size_t bytes, crew_fn body, struct crew_told *told) {
    struct rank ranks[CREW_MOST] = {0};
    assert_true(world <= CREW_MOST);
    size_t shared = comm_shared_bytes(NULL, world, bytes);
    void *base = mmap(
            NULL, shared, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_true(base != MAP_FAILED);
    for (int r = 0; r < world; r++) {
        ranks[r].body = body;
        ranks[r].options = (struct comm_options){.rank = r,
                .world = world,
                .shm_fd = -1,
                .base = base,
                .base_bytes = shared,
                .bytes = bytes,
                .deadline_ms = CREW_DEADLINE_MS,
                .waiting = told ? tell_waiting : NULL,
                .moving = told ? tell_moving : NULL,
                .user = told ? told + r : NULL};
        assert_int_equal(pthread_create(&ranks[r].thread, NULL, run, &ranks[r]), 0);
    }
    for (int r = 0; r < world; r++) {
        pthread_join(ranks[r].thread, NULL);
    }
    for (int r = 0; r < world; r++) {
        if (ranks[r].failed) {
            fail_msg("rank %d of %d: %s", r, world, ranks[r].failed);
        }
    }
    munmap(base, shared);
}

void crew_run_processes(int world, size_t bytes, crew_fn body) {
    pid_t pids[CREW_MOST];
    assert_true(world <= CREW_MOST);
    int fd = memfd_create("ranks", MFD_CLOEXEC);
    assert_true(fd >= 0);
    for (int r = 0; r < world; r++) {
        pids[r] = fork();
        assert_true(pids[r] >= 0);
        if (pids[r] == 0) {
            struct rank rank = {.options = {.rank = r,
                                        .world = world,
                                        .shm_fd = fd,
                                        .bytes = bytes,
                                        .deadline_ms = CREW_DEADLINE_MS},
                    .body = body};
            run(&rank);
            _exit(rank.failed ? 1 : 0);
        }
    }
    for (int r = 0; r < world; r++) {
        int status;
        assert_int_equal(waitpid(pids[r], &status, 0), pids[r]);
        assert_true(WIFEXITED(status));
        assert_int_equal(WEXITSTATUS(status), 0);
    }
    close(fd);
}

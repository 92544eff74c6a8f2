/*
 * Ranks as threads and as processes: sums to the bit, parts of them and the way back,
 * meetings, ranks that are missing or late.
 */
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "worker/comm.h"
#include "worker/comm_backend.h"
#include "worker/reduce.h"

enum { ELEMENTS = 3001, ROUNDS = 20, DEADLINE_MS = 30000 };

static const enum dtype types[] = {DTYPE_F32, DTYPE_BF16, DTYPE_F16, DTYPE_F64};

/* A repeatable, unremarkable number for element `i` of `rank` in `round`. */
static double number(int rank, int round, int i) {
    uint64_t x = (uint64_t)rank * 1000003 + (uint64_t)round * 7919 + (uint64_t)i + 1;
    x ^= x >> 31;
    x *= 0x9e3779b97f4a7c15u;
    x ^= x >> 29;
    return (double)(int64_t)(x >> 40) / 65536.0 - 128;
}

static void put(void *data, enum dtype type, int i, double x) {
    float f = (float)x;
    uint32_t bits;
    memcpy(&bits, &f, sizeof bits);
    switch (type) {
    case DTYPE_F32:
        ((float *)data)[i] = f;
        break;
    case DTYPE_F64:
        ((double *)data)[i] = x;
        break;
    case DTYPE_BF16:
        ((uint16_t *)data)[i] = (uint16_t)(bits >> 16);
        break;
    default: // a half of like sign and small exponent is enough here
        ((uint16_t *)data)[i] =
                (uint16_t)((bits >> 16 & 0x8000) | (bits >> 13 & 0x3ff) |
                           ((bits >> 13 & 7) + 12) << 10);
    }
}

static void fill(void *data, enum dtype type, int rank, int round) {
    for (int i = 0; i < ELEMENTS; i++) {
        put(data, type, i, number(rank, round, i));
    }
}

struct rank {
    struct comm_options options;
    const char *failed; // NULL: all as it should be
    pthread_t thread;
};

/* What the elements [from, to) of all ranks must become, added up on one thread. */
static bool matches(const void *data, enum dtype type, int world, int round, int from,
        int to, int rank) {
    size_t size = dtype_size(type);
    void *parts[COMM_WORLD_MAX];
    for (int r = 0; r < world; r++) {
        parts[r] = malloc(ELEMENTS * size);
        fill(parts[r], type, r, round);
        parts[r] = (char *)parts[r] + (size_t)from * size;
    }
    reduce_sum(parts, world, to - from, type);
    // Outside the range every rank keeps its own.
    char *own = malloc(ELEMENTS * size);
    fill(own, type, rank, round);
    memcpy(own + (size_t)from * size, parts[0], (size_t)(to - from) * size);
    bool same = memcmp(own, data, ELEMENTS * size) == 0;
    free(own);
    for (int r = 0; r < world; r++) {
        free((char *)parts[r] - (size_t)from * size);
    }
    return same;
}

/* One byte of rank `rank`'s shard. */
static unsigned char byte_of(int rank, int round, size_t i) {
    return (unsigned char)((size_t)rank * 31 + (size_t)round * 7 + i * 13 + i / 251);
}

/* Shards made elsewhere are handed round, into [first, …) of comm memory. */
static const char *gather(
        struct comm *c, int world, int rank, void *data, enum dtype type, int count) {
    enum { FIRST = 5 };
    struct text err = {0};
    size_t size = dtype_size(type), shard = (size_t)count * size;
    unsigned char *own = malloc(shard), *all = data;
    for (size_t i = 0; i < shard; i++) {
        own[i] = byte_of(rank, count, i);
    }
    memset(all, 0xee, (size_t)FIRST * size + (size_t)world * shard + 1);
    struct tensor part = {own, type, 1, {count}};
    struct tensor whole = {data, type, 1, {FIRST + world * count + 1}};
    bool done = comm_all_gather(
                        c, NULL, &part, &whole, FIRST, FIRST + world * count, &err) &&
                comm_wait(c, NULL, 0, &err);
    free(own);
    for (int r = 0; r < world; r++) {
        for (size_t i = 0; i < shard; i++) {
            done = done && all[(size_t)FIRST * size + (size_t)r * shard + i] ==
                                   byte_of(r, count, i);
        }
    }
    return done && all[(size_t)FIRST * size - 1] == 0xee &&
                           all[(size_t)FIRST * size + (size_t)world * shard] == 0xee
                   ? NULL
                   : "not what was handed round";
}

/* Parts of the sum, and the way back: together the bits of one all-reduce. */
static const char *exercise_parts(struct comm *c, int rank, int world, void **data) {
    static const int shards[] = {0, 1, 3, 67, 350};
    static const enum dtype carried[] = {
            DTYPE_F32, DTYPE_BF16, DTYPE_F16, DTYPE_F64, DTYPE_I32, DTYPE_U8};
    struct text err = {0};
    for (int k = 0; k < 5; k++) {
        int to = 11 + shards[k] * world;
        for (int t = 0; t < 4; t++) {
            struct tensor whole = {data[t], types[t], 1, {ELEMENTS}};
            fill(data[t], types[t], rank, k);
            if (!comm_reduce_scatter(c, NULL, &whole, 11, to, &err) ||
                    !comm_all_gather(c, NULL, NULL, &whole, 11, to, &err)) {
                return "cannot queue parts";
            }
        }
        if (!comm_wait(c, NULL, 0, &err)) {
            return "cannot wait for parts";
        }
        for (int t = 0; t < 4; t++) {
            if (!matches(data[t], types[t], world, k, 11, to, rank)) {
                return "parts are not the whole";
            }
        }
        for (int t = 0; t < 6; t++) {
            const char *failed = gather(c, world, rank, data[3], carried[t], shards[k]);
            if (failed) {
                return failed;
            }
        }
    }
    return NULL;
}

/* The first of many queued operations is there once all but the rest are. */
static const char *exercise_waits(struct comm *c, int rank, int world, void **data) {
    enum { LATER = 40 };
    struct text err = {0};
    struct tensor first = {data[0], DTYPE_F32, 1, {ELEMENTS}};
    struct tensor rest = {data[3], DTYPE_F64, 1, {ELEMENTS}};
    for (int round = 0; round < ROUNDS; round++) {
        fill(data[0], DTYPE_F32, rank, round);
        fill(data[3], DTYPE_F64, rank, round);
        bool done = comm_all_reduce(c, NULL, &first, 0, ELEMENTS, &err);
        for (int i = 0; done && i < LATER; i++) {
            done = comm_all_reduce(c, NULL, &rest, i, i + 1, &err);
        }
        if (!done || !comm_wait(c, NULL, LATER, &err)) {
            return "cannot wait for the first";
        }
        // Others may be at the rest still, which lies elsewhere.
        if (!matches(data[0], DTYPE_F32, world, round, 0, ELEMENTS, rank)) {
            return "the first is not there";
        }
        if (!comm_wait(c, NULL, LATER + 5, &err) || !comm_wait(c, NULL, 0, &err)) {
            return "cannot wait for the rest";
        }
        if (!matches(data[3], DTYPE_F64, world, round, 0, LATER, rank)) {
            return "the rest is not there";
        }
    }
    return NULL;
}

/* What ranks tell each other on the host. */
static const char *exercise_meetings(struct comm *c, int rank, int world) {
    struct text err = {0};
    for (int round = 0; round < ROUNDS; round++) {
        unsigned char message[RANKS_MESSAGE_MAX];
        memset(message, rank == 0 ? round + 1 : 0xff, sizeof message);
        size_t bytes = round == 0 ? sizeof message : (size_t)round;
        ranks_tell(&c->ranks, message, bytes);
        for (size_t i = 0; i < sizeof message; i++) {
            if (message[i] != (i < bytes || rank == 0 ? round + 1 : 0xff)) {
                return "not what rank 0 told";
            }
        }
    }
    // The last rank is a step behind, then all are at one.
    bool last = rank == world - 1;
    for (int64_t step = 0; step < 2; step++) {
        if (comm_behind(c) >= 0 && step == 0) {
            return "behind before anyone began";
        }
        if (!comm_barrier(c, &err)) {
            return "no barrier";
        }
        if (!last) {
            comm_announce(c, step);
        }
        if (!comm_barrier(c, &err)) {
            return "no barrier";
        }
        if (comm_behind(c) != (last ? -1 : world - 1)) {
            return "the wrong rank is behind";
        }
        if (!comm_barrier(c, &err)) {
            return "no barrier";
        }
        if (last) {
            comm_announce(c, step);
        }
        if (!comm_barrier(c, &err)) {
            return "no barrier";
        }
        if (comm_behind(c) != -1) {
            return "behind, but all are there";
        }
    }
    return comm_barrier(c, &err) ? NULL : "no barrier";
}

static const char *exercise(struct comm *c, int rank, int world) {
    struct text err = {0};
    struct kernel_error why;
    void *data[4];
    for (int t = 0; t < 4; t++) {
        data[t] = comm_allocate(c, ELEMENTS * dtype_size(types[t]), &why);
        if (!data[t] || (uintptr_t)data[t] % 64 != 0) {
            return "no aligned memory";
        }
    }
    for (int round = 0; round < ROUNDS; round++) {
        int cut = 100 * round + 8;
        for (int t = 0; t < 4; t++) {
            fill(data[t], types[t], rank, round);
            struct tensor whole = {data[t], types[t], 1, {ELEMENTS}};
            // Two buckets, from the end as backward does, and a rest that is not
            // summed.
            if (!comm_all_reduce(c, NULL, &whole, cut, ELEMENTS, &err) ||
                    !comm_all_reduce(c, NULL, &whole, 7, cut, &err)) {
                return "cannot queue";
            }
        }
        // Host values travel beside what is queued.
        double values[40];
        for (int i = 0; i < 40; i++) {
            values[i] = number(rank, round, i);
        }
        if (!comm_sum_host(c, values, 40, &err)) {
            return "cannot add up host values";
        }
        for (int i = 0; i < 40; i++) {
            double sum = 0;
            for (int r = 0; r < world; r++) {
                sum += number(r, round, i);
            }
            if (values[i] != sum) {
                return "wrong sum of host values";
            }
        }
        if (!comm_wait(c, NULL, 0, &err)) {
            return "cannot wait";
        }
        for (int t = 0; t < 4; t++) {
            if (!matches(data[t], types[t], world, round, 7, ELEMENTS, rank)) {
                return dtype_name(types[t]);
            }
        }
    }
    const char *failed = exercise_parts(c, rank, world, data);
    if (failed || (failed = exercise_waits(c, rank, world, data)) != NULL ||
            (failed = exercise_meetings(c, rank, world)) != NULL) {
        return failed;
    }
    int64_t moved = comm_bytes_moved(c);
    return world > 1 ? moved > 0 ? NULL : "nothing moved"
                     : (moved == 0 ? NULL : "one rank moved bytes");
}

static void *run_rank(void *argument) {
    struct rank *r = argument;
    struct text err = {0};
    struct comm *c;
    if (!comm_create(&r->options, &c, &err)) {
        r->failed = text_take(&err);
        return NULL;
    }
    r->failed = exercise(c, r->options.rank, r->options.world);
    comm_destroy(c);
    return NULL;
}

static size_t bytes_needed(void) {
    return ELEMENTS * (4 + 2 + 2 + 8);
}

static void ranks_as_threads_agree_to_the_bit(void **state) {
    (void)state;
    const int worlds[] = {1, 2, 3, 4, 8};
    for (size_t w = 0; w < sizeof worlds / sizeof *worlds; w++) {
        int world = worlds[w];
        size_t bytes = comm_shared_bytes(NULL, world, bytes_needed());
        void *base = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
                MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        assert_true(base != MAP_FAILED);
        struct rank ranks[8] = {0};
        for (int r = 0; r < world; r++) {
            ranks[r].options = (struct comm_options){.rank = r,
                    .world = world,
                    .shm_fd = -1,
                    .base = base,
                    .base_bytes = bytes,
                    .bytes = bytes_needed(),
                    .deadline_ms = DEADLINE_MS};
            assert_int_equal(
                    pthread_create(&ranks[r].thread, NULL, run_rank, &ranks[r]), 0);
        }
        for (int r = 0; r < world; r++) {
            pthread_join(ranks[r].thread, NULL);
        }
        for (int r = 0; r < world; r++) {
            if (ranks[r].failed) {
                fail_msg("rank %d of %d: %s", r, world, ranks[r].failed);
            }
        }
        munmap(base, bytes);
    }
}

static void ranks_as_processes_agree_to_the_bit(void **state) {
    (void)state;
    const int worlds[] = {2, 3, 4, 8};
    for (size_t w = 0; w < sizeof worlds / sizeof *worlds; w++) {
        int world = worlds[w];
        int fd = memfd_create("ranks", MFD_CLOEXEC);
        assert_true(fd >= 0);
        pid_t pids[8];
        for (int r = 0; r < world; r++) {
            pids[r] = fork();
            assert_true(pids[r] >= 0);
            if (pids[r] == 0) {
                struct rank rank = {.options = {.rank = r,
                                            .world = world,
                                            .shm_fd = fd,
                                            .bytes = bytes_needed(),
                                            .deadline_ms = DEADLINE_MS}};
                run_rank(&rank);
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
}

static void missing_ranks_are_named_after_the_deadline(void **state) {
    (void)state;
    int fd = memfd_create("ranks", MFD_CLOEXEC);
    assert_true(fd >= 0);
    struct comm_failure failure = {0};
    struct comm_options options = {.rank = 1,
            .world = 4,
            .shm_fd = fd,
            .bytes = 64,
            .deadline_ms = 20,
            .failure = &failure};
    struct comm *c;
    struct text err = {0};
    assert_false(comm_create(&options, &c, &err));
    assert_string_equal(text_get(&err), "after 0 s still missing: rank 0, 2, 3");
    assert_true(failure.others);
    text_clear(&err);
    failure.others = false;
    assert_false(comm_create(&options, &c, &err));
    assert_string_equal(text_get(&err), "rank 1 has joined already");
    assert_false(failure.others);
    text_finish(&err);
    close(fd);
}

static void ranks_that_disagree_about_bytes_are_refused(void **state) {
    (void)state;
    int fd = memfd_create("ranks", MFD_CLOEXEC);
    assert_true(fd >= 0);
    pid_t pid = fork();
    assert_true(pid >= 0);
    struct comm_options options = {.rank = pid ? 1 : 0,
            .world = 2,
            .shm_fd = fd,
            .bytes = pid ? 1000000 : 64,
            .deadline_ms = DEADLINE_MS};
    struct comm *c;
    struct text err = {0};
    bool created = comm_create(&options, &c, &err);
    if (pid == 0) {
        _exit(created ? 1 : 0);
    }
    assert_false(created);
    assert_string_equal(text_get(&err),
            "rank 0 of 2 shares 64 bytes, but rank 1 of 2 shares 1000000");
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    text_finish(&err);
    close(fd);
}

static void ranks_of_another_attempt_are_refused(void **state) {
    (void)state;
    int fd = memfd_create("ranks", MFD_CLOEXEC);
    assert_true(fd >= 0);
    pid_t pid = fork();
    assert_true(pid >= 0);
    struct comm_options options = {.rank = pid ? 1 : 0,
            .world = 2,
            .shm_fd = fd,
            .bytes = 64,
            .nonce = pid ? "today" : "yesterday",
            .deadline_ms = DEADLINE_MS};
    struct comm *c;
    struct text err = {0};
    bool created = comm_create(&options, &c, &err);
    if (pid == 0) {
        _exit(created ? 1 : 0);
    }
    assert_false(created);
    assert_string_equal(
            text_get(&err), "rank 0 is of attempt 'yesterday', but rank 1 of 'today'");
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    text_finish(&err);
    close(fd);
}

static void count_waiting(void *user) {
    (*(int *)user)++;
}

static void *wait_and_join(void *argument) {
    struct rank *r = argument;
    struct comm *c;
    struct text err = {0};
    if (!comm_create(&r->options, &c, &err)) {
        r->failed = text_take(&err);
        return NULL;
    }
    if (r->options.rank == 1) {
        nanosleep(&(struct timespec){0, 300 * 1000 * 1000}, NULL);
    }
    struct kernel_error why;
    float *x = comm_allocate(c, sizeof *x, &why);
    struct tensor t = {x, DTYPE_F32, 1, {1}};
    *x = 1;
    comm_all_reduce(c, NULL, &t, 0, 1, &err);
    comm_wait(c, NULL, 0, &err);
    comm_barrier(c, &err);
    comm_destroy(c);
    return NULL;
}

static double cpu_seconds(void) {
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) +
           (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}

static void waiting_for_a_late_rank_costs_no_cpu(void **state) {
    (void)state;
    size_t bytes = comm_shared_bytes(NULL, 2, 64);
    void *base = mmap(
            NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_true(base != MAP_FAILED);
    struct rank ranks[2] = {0};
    double before = cpu_seconds();
    for (int r = 0; r < 2; r++) {
        ranks[r].options = (struct comm_options){.rank = r,
                .world = 2,
                .shm_fd = -1,
                .base = base,
                .base_bytes = bytes,
                .bytes = 64,
                .deadline_ms = DEADLINE_MS};
        assert_int_equal(
                pthread_create(&ranks[r].thread, NULL, wait_and_join, &ranks[r]), 0);
    }
    for (int r = 0; r < 2; r++) {
        pthread_join(ranks[r].thread, NULL);
        assert_null(ranks[r].failed);
    }
    // One rank waited 0.3 s, twice over: a spin would have used it all.
    assert_true(cpu_seconds() - before < 0.15);
    munmap(base, bytes);
}

static void *come_late(void *argument) {
    struct rank *r = argument;
    struct comm *c;
    struct text err = {0};
    if (!comm_create(&r->options, &c, &err)) {
        r->failed = text_take(&err);
        return NULL;
    }
    if (r->options.rank == 1) {
        nanosleep(&(struct timespec){2, 500 * 1000 * 1000}, NULL);
    }
    comm_barrier(c, &err);
    comm_barrier(c, &err);
    comm_destroy(c);
    return NULL;
}

static void who_waits_for_a_late_rank_is_told_so(void **state) {
    (void)state;
    size_t bytes = comm_shared_bytes(NULL, 2, 64);
    void *base = mmap(
            NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_true(base != MAP_FAILED);
    struct rank ranks[2] = {0};
    int told[2] = {0};
    for (int r = 0; r < 2; r++) {
        ranks[r].options = (struct comm_options){.rank = r,
                .world = 2,
                .shm_fd = -1,
                .base = base,
                .base_bytes = bytes,
                .bytes = 64,
                .deadline_ms = DEADLINE_MS,
                .waiting = count_waiting,
                .user = &told[r]};
        assert_int_equal(
                pthread_create(&ranks[r].thread, NULL, come_late, &ranks[r]), 0);
    }
    for (int r = 0; r < 2; r++) {
        pthread_join(ranks[r].thread, NULL);
        assert_null(ranks[r].failed);
    }
    assert_true(told[0] >= 2); // each second anew
    munmap(base, bytes);
}

struct told {
    int waiting, moving;
};

static void tell_waiting(void *user) {
    ((struct told *)user)->waiting++;
}

static void tell_moving(void *user) {
    ((struct told *)user)->moving++;
}

/* Two ranks as threads, each through `body`; what each was told by the second. */
static void run_two(void *(*body)(void *), size_t share, struct told told[2]) {
    size_t bytes = comm_shared_bytes(NULL, 2, share);
    void *base = mmap(
            NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_true(base != MAP_FAILED);
    struct rank ranks[2] = {0};
    for (int r = 0; r < 2; r++) {
        ranks[r].options = (struct comm_options){.rank = r,
                .world = 2,
                .shm_fd = -1,
                .base = base,
                .base_bytes = bytes,
                .bytes = share,
                .deadline_ms = DEADLINE_MS,
                .waiting = tell_waiting,
                .moving = tell_moving,
                .user = &told[r]};
        assert_int_equal(pthread_create(&ranks[r].thread, NULL, body, &ranks[r]), 0);
    }
    for (int r = 0; r < 2; r++) {
        pthread_join(ranks[r].thread, NULL);
        assert_null(ranks[r].failed);
    }
    munmap(base, bytes);
}

/* Rank 0 queues all at once, rank 1 one every 0.3 s. */
static void *come_again_and_again(void *argument) {
    struct rank *r = argument;
    struct comm *c;
    struct text err = {0};
    if (!comm_create(&r->options, &c, &err)) {
        r->failed = text_take(&err);
        return NULL;
    }
    struct kernel_error why;
    float *x = comm_allocate(c, sizeof *x, &why);
    struct tensor t = {x, DTYPE_F32, 1, {1}};
    for (int i = 0; i < 10; i++) {
        if (r->options.rank == 1) {
            nanosleep(&(struct timespec){0, 300 * 1000 * 1000}, NULL);
        }
        comm_all_reduce(c, NULL, &t, 0, 1, &err);
    }
    comm_wait(c, NULL, 0, &err);
    comm_destroy(c);
    return NULL;
}

static void operations_that_end_count_as_moving(void **state) {
    (void)state;
    struct told told[2] = {{0}};
    run_two(come_again_and_again, 64, told);
    assert_true(told[0].moving >= 1);
}

static void *slow_page;

/* The page can be read once whoever reads it has slept. */
static void let_read_later(int number) {
    (void)number;
    nanosleep(&(struct timespec){2, 500 * 1000 * 1000}, NULL);
    mprotect(slow_page, 4096, PROT_READ);
}

static void *gather_slowly(void *argument) {
    struct rank *r = argument;
    struct comm *c;
    struct text err = {0};
    if (!comm_create(&r->options, &c, &err)) {
        r->failed = text_take(&err);
        return NULL;
    }
    struct kernel_error why;
    float own = 1, *all = comm_allocate(c, 2 * sizeof *all, &why);
    struct tensor from = {r->options.rank == 0 ? slow_page : &own, DTYPE_F32, 1, {1}};
    struct tensor to = {all, DTYPE_F32, 1, {2}};
    comm_all_gather(c, NULL, &from, &to, 0, 2, &err);
    comm_wait(c, NULL, 0, &err);
    comm_destroy(c);
    return NULL;
}

static void who_does_its_part_moves_and_the_other_waits(void **state) {
    (void)state;
    slow_page = mmap(NULL, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_true(slow_page != MAP_FAILED);
    struct sigaction slow = {.sa_handler = let_read_later}, before;
    sigaction(SIGSEGV, &slow, &before);
    struct told told[2] = {{0}};
    run_two(gather_slowly, 64, told);
    sigaction(SIGSEGV, &before, NULL);
    assert_true(told[0].moving >= 2);
    assert_true(told[1].waiting >= 1);
    munmap(slow_page, 4096);
}

static void more_than_was_announced_is_not_given(void **state) {
    (void)state;
    struct comm_options options = {
            .world = 1, .shm_fd = -1, .bytes = 1000, .deadline_ms = DEADLINE_MS};
    struct comm *c;
    struct text err = {0};
    assert_true(comm_create(&options, &c, &err));
    struct kernel_error why = {0};
    unsigned char *memory = comm_allocate(c, 1000, &why);
    assert_non_null(memory);
    for (int i = 0; i < 1000; i++) {
        assert_int_equal(memory[i], 0);
    }
    assert_null(comm_allocate(c, 100000, &why));
    assert_int_equal(why.kind, KERNEL_OUT_OF_MEMORY);
    assert_int_equal(why.bytes_asked, 100000);
    assert_true(why.bytes_free < 100000);
    struct tensor t = {memory, DTYPE_I32, 1, {250}};
    assert_false(comm_all_reduce(c, NULL, &t, 0, 250, &err));
    assert_string_equal(text_get(&err), "cannot add up i32 over ranks");
    text_finish(&err);
    comm_destroy(c);
    comm_destroy(NULL);
}

int main(void) {
    const struct CMUnitTest tests[] = {
            cmocka_unit_test(ranks_as_processes_agree_to_the_bit),
            cmocka_unit_test(ranks_as_threads_agree_to_the_bit),
            cmocka_unit_test(missing_ranks_are_named_after_the_deadline),
            cmocka_unit_test(ranks_that_disagree_about_bytes_are_refused),
            cmocka_unit_test(ranks_of_another_attempt_are_refused),
            cmocka_unit_test(waiting_for_a_late_rank_costs_no_cpu),
            cmocka_unit_test(who_waits_for_a_late_rank_is_told_so),
            cmocka_unit_test(operations_that_end_count_as_moving),
            cmocka_unit_test(who_does_its_part_moves_and_the_other_waits),
            cmocka_unit_test(more_than_was_announced_is_not_given),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

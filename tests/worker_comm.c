/*
 * Ranks as threads and as processes: sums to the bit, parts of them and the way back,
 * meetings, and no more memory than was announced.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/helpers/crew.h"
#include "tests/helpers/numbers.h"
#include "worker/comm.h"
#include "worker/comm_backend.h"
#include "worker/reduce.h"

enum { ELEMENTS = 3001, ROUNDS = 20 };

static const enum dtype types[] = {DTYPE_F32, DTYPE_BF16, DTYPE_F16, DTYPE_F64};

/* A repeatable, unremarkable number for element `i` of `rank` in `round`. */
static double number(int rank, int round, int i) {
    uint64_t x = (uint64_t)rank * 1000003 + (uint64_t)round * 7919 + (uint64_t)i + 1;
    x ^= x >> 31;
    x *= 0x9e3779b97f4a7c15u;
    x ^= x >> 29;
    return (double)(int64_t)(x >> 40) / 65536.0 - 128;
}

static void fill(void *data, enum dtype type, int rank, int round) {
    for (int i = 0; i < ELEMENTS; i++) {
        numbers_put(data, type, i, number(rank, round, i));
    }
}

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

/* Host values travel beside what is queued. */
static const char *exercise_host(struct comm *c, int rank, int world, int round) {
    struct text err = {0};
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
    return NULL;
}

/* Sums of whole arrays, beside sums on the host. */
static const char *exercise_sums(struct comm *c, int rank, int world, void **data) {
    struct text err = {0};
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
        const char *failed = exercise_host(c, rank, world, round);
        if (failed) {
            return failed;
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
    return NULL;
}

static const char *exercise(struct comm *c, int rank, int world) {
    struct kernel_error why;
    void *data[4];
    for (int t = 0; t < 4; t++) {
        data[t] = comm_allocate(c, ELEMENTS * dtype_size(types[t]), &why);
        if (!data[t] || (uintptr_t)data[t] % 64 != 0) {
            return "no aligned memory";
        }
    }
    const char *failed = exercise_sums(c, rank, world, data);
    if (failed || (failed = exercise_parts(c, rank, world, data)) != NULL ||
            (failed = exercise_waits(c, rank, world, data)) != NULL ||
            (failed = exercise_meetings(c, rank, world)) != NULL) {
        return failed;
    }
    int64_t moved = comm_bytes_moved(c);
    return world > 1 ? moved > 0 ? NULL : "nothing moved"
                     : (moved == 0 ? NULL : "one rank moved bytes");
}

enum { BYTES = ELEMENTS * (4 + 2 + 2 + 8) }; // of one array of each type

static void ranks_as_threads_agree_to_the_bit(void **state) {
    (void)state;
    const int worlds[] = {1, 2, 3, 4, 8};
    for (size_t w = 0; w < sizeof worlds / sizeof *worlds; w++) {
        crew_run_threads(worlds[w], BYTES, exercise, NULL);
    }
}

static void ranks_as_processes_agree_to_the_bit(void **state) {
    (void)state;
    const int worlds[] = {2, 3, 4, 8};
    for (size_t w = 0; w < sizeof worlds / sizeof *worlds; w++) {
        crew_run_processes(worlds[w], BYTES, exercise);
    }
}

static void more_than_was_announced_is_not_given(void **state) {
    (void)state;
    struct comm_options options = {
            .world = 1, .shm_fd = -1, .bytes = 1000, .deadline_ms = CREW_DEADLINE_MS};
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
            cmocka_unit_test(more_than_was_announced_is_not_given),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

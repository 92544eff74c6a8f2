/* Ranks as threads of one process, meeting in memory that they share. */
#include <math.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/helpers/cell.h"
#include "worker/comm.h"

enum { STEPS = 20, WORLD_MAX = 4, DEADLINE_MS = 20000 };

struct group {
    const char *words;
    int world, steps;
    void *base;
    size_t base_bytes;
    double losses[WORLD_MAX][STEPS]; /* each rank's own mean */
    double *gradients;               /* rank 0's after the first step, all parameters */
    int64_t elements;
};

struct seat {
    struct group *group;
    int rank;
    pthread_t thread;
};

static void fail_hard(const struct text *err) {
    fprintf(stderr, "a rank: %s\n", text_get(err));
    abort();
}

/* All gradients one after the other, without padding. */
static void keep_gradients(struct group *g, struct cell *c) {
    const struct parameters *all = engine_parameters(c->engine);
    g->gradients = text_allocate((size_t)all->trained * sizeof *g->gradients);
    g->elements = 0;
    for (int i = 0; i < all->count; i++) {
        double *values = cell_gradient(c, i);
        memcpy(g->gradients + g->elements, values,
                (size_t)all->items[i].count * sizeof *values);
        g->elements += all->items[i].count;
        free(values);
    }
}

static void *run_rank(void *argument) {
    struct seat *seat = argument;
    struct group *g = seat->group;
    struct cell c;
    struct text err = {0};
    struct comm *comm = NULL;
    cell_init(&c, kernels_cpu(), g->words);
    c.options.rank = seat->rank;
    c.options.world = g->world;
    if (g->world > 1) {
        struct comm_options options = {.rank = seat->rank,
                .world = g->world,
                .shm_fd = -1,
                .base = g->base,
                .base_bytes = g->base_bytes,
                .deadline_ms = DEADLINE_MS,
                .kernels = kernels_cpu()};
        if (!engine_comm_bytes(&c.options, &options.bytes, &err) ||
                !comm_create(&options, &comm, &err)) {
            fail_hard(&err);
        }
    }
    c.options.comm = comm;
    cell_start(&c);
    for (int i = 0; i < g->steps; i++) {
        g->losses[seat->rank][i] = cell_step(&c, i, 3e-3).loss;
        if (i == 0 && seat->rank == 0) {
            keep_gradients(g, &c);
        }
    }
    cell_destroy(&c);
    comm_destroy(comm);
    return NULL;
}

/* Run `world` ranks of a cell; the caller owes group_finish(). */
static void group_run(struct group *g, int world, int steps, const char *words) {
    struct seat seats[WORLD_MAX];
    struct cell c;
    struct text err = {0};
    size_t bytes;
    *g = (struct group){.words = words, .world = world, .steps = steps};
    cell_init(&c, kernels_cpu(), words);
    c.options.world = world;
    assert_true(engine_comm_bytes(&c.options, &bytes, &err));
    assert_true(world > 1 ? bytes > 0 : bytes == 0);
    cell_destroy(&c);
    g->base_bytes = comm_shared_bytes(NULL, world, bytes);
    g->base = aligned_alloc(4096, g->base_bytes);
    memset(g->base, 0, g->base_bytes);
    for (int r = 0; r < world; r++) {
        seats[r] = (struct seat){.group = g, .rank = r};
        assert_int_equal(
                pthread_create(&seats[r].thread, NULL, run_rank, &seats[r]), 0);
    }
    for (int r = 0; r < world; r++) {
        pthread_join(seats[r].thread, NULL);
    }
}

static void group_finish(struct group *g) {
    free(g->base);
    free(g->gradients);
}

static double mean_loss(const struct group *g, int step) {
    double sum = 0;
    for (int r = 0; r < g->world; r++) {
        sum += g->losses[r][step];
    }
    return sum / g->world;
}

static void must_equal_one_rank(int world, const char *words, const char *joined) {
    struct group one, many;
    group_run(&one, 1, STEPS, joined);
    group_run(&many, world, STEPS, words);
    assert_int_equal(one.elements, many.elements);
    double distance = cell_distance(many.gradients, one.gradients, one.elements);
    if (!(distance <= 1e-5)) {
        fail_msg("'%s': first gradients differ by %g", words, distance);
    }
    for (int i = 0; i < STEPS; i++) {
        double difference = fabs(mean_loss(&many, i) - mean_loss(&one, i));
        if (!(difference <= 1e-4)) {
            fail_msg("'%s': step %d differs by %g", words, i, difference);
        }
    }
    group_finish(&one);
    group_finish(&many);
}

static void two_ranks_equal_one_on_the_joined_batch(void **state) {
    (void)state;
    must_equal_one_rank(2, "arch=gpt ranks=2 ddp=naive batch=2", "arch=gpt batch=4");
    must_equal_one_rank(2, "arch=llama ranks=2 ddp=bucketed bucket_mb=0.01 batch=2",
            "arch=llama batch=4");
}

static void four_ranks_equal_one_on_the_joined_batch(void **state) {
    (void)state;
    must_equal_one_rank(4, "arch=gpt ranks=4 ddp=bucketed bucket_mb=0.02 batch=1",
            "arch=gpt batch=4");
    must_equal_one_rank(4, "arch=llama ranks=4 ddp=flat batch=1", "arch=llama batch=4");
}

static void ranks_with_accumulation_equal_one_on_the_joined_batch(void **state) {
    (void)state;
    must_equal_one_rank(2,
            "arch=gpt ranks=2 ddp=bucketed bucket_mb=0.01 batch=1 accumulate=2",
            "arch=gpt batch=4");
}

static void wrappers_and_bucket_sizes_change_no_bit(void **state) {
    (void)state;
    // An odd d_ff and vocabulary leave parameters whose counts no slice divides.
    static const char *const bases[] = {"arch=gpt vocab=67 d_ff=51 ranks=3 threads=1",
            "arch=llama vocab=67 d_ff=51 ranks=2 precision=bf16 threads=1",
            "arch=gpt ranks=2 precision=fp16 accumulate=2 checkpoint=block threads=1"};
    static const int worlds[] = {3, 2, 2};
    static const char *const wrappers[] = {"ddp=bucketed bucket_mb=0.001",
            "ddp=bucketed bucket_mb=0.013", "ddp=bucketed bucket_mb=25", "ddp=flat"};
    for (int b = 0; b < 3; b++) {
        struct group naive;
        char words[256];
        snprintf(words, sizeof words, "%s ddp=naive", bases[b]);
        group_run(&naive, worlds[b], STEPS, words);
        for (int w = 0; w < 4; w++) {
            struct group other;
            snprintf(words, sizeof words, "%s %s", bases[b], wrappers[w]);
            group_run(&other, worlds[b], STEPS, words);
            assert_memory_equal(naive.losses, other.losses, sizeof naive.losses);
            assert_memory_equal(naive.gradients, other.gradients,
                    (size_t)naive.elements * sizeof *naive.gradients);
            group_finish(&other);
        }
        assert_true(isfinite(naive.losses[0][STEPS - 1]));
        group_finish(&naive);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
            cmocka_unit_test(two_ranks_equal_one_on_the_joined_batch),
            cmocka_unit_test(four_ranks_equal_one_on_the_joined_batch),
            cmocka_unit_test(ranks_with_accumulation_equal_one_on_the_joined_batch),
            cmocka_unit_test(wrappers_and_bucket_sizes_change_no_bit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

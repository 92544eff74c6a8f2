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

enum { STEPS = 20, WORLD_MAX = 8, DEADLINE_MS = 20000 };

struct group {
    const char *words;
    int world, steps;
    void *base;
    size_t base_bytes;
    double losses[WORLD_MAX][STEPS]; /* each rank's own mean */
    double *gradients;               /* rank 0's after the first step, all parameters */
    double *weights[WORLD_MAX];      /* each rank's after the last step, likewise */
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

/* All parameters' values by `read`, one after the other, without padding. */
static double *keep_all(
        struct group *g, struct cell *c, double *(*read)(struct cell *c, int index)) {
    const struct parameters *all = engine_parameters(c->engine);
    double *kept = text_allocate((size_t)all->trained * sizeof *kept);
    int64_t elements = 0;
    for (int i = 0; i < all->count; i++) {
        double *values = read(c, i);
        memcpy(kept + elements, values, (size_t)all->items[i].count * sizeof *values);
        elements += all->items[i].count;
        free(values);
    }
    if (c->options.rank == 0) {
        g->elements = elements;
    }
    return kept;
}

static void gather(struct cell *c) {
    struct text err = {0};
    if (!engine_gather(c->engine, &err)) {
        fail_hard(&err);
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
        if (i == 0) {
            gather(&c);
        }
        if (i == 0 && seat->rank == 0) {
            g->gradients = keep_all(g, &c, cell_gradient);
        }
    }
    gather(&c);
    g->weights[seat->rank] = keep_all(g, &c, cell_parameter);
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
    for (int r = 1; r < world; r++) {
        assert_memory_equal(g->weights[r], g->weights[0],
                (size_t)g->elements * sizeof *g->weights[0]);
    }
}

static void group_finish(struct group *g) {
    for (int r = 0; r < g->world; r++) {
        free(g->weights[r]);
    }
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
    must_equal_one_rank(2, "arch=gpt ranks=2 ddp=bucketed bucket_mb=0.01 batch=2",
            "arch=gpt batch=4");
    must_equal_one_rank(2, "arch=gpt ranks=2 ddp=sharded batch=2", "arch=gpt batch=4");
    must_equal_one_rank(2, "arch=llama ranks=2 ddp=sharded bucket_mb=0.01 batch=2",
            "arch=llama batch=4");
}

static void four_ranks_equal_one_on_the_joined_batch(void **state) {
    (void)state;
    must_equal_one_rank(4, "arch=gpt ranks=4 ddp=bucketed bucket_mb=0.02 batch=1",
            "arch=gpt batch=4");
    must_equal_one_rank(4, "arch=llama ranks=4 ddp=flat batch=1", "arch=llama batch=4");
    must_equal_one_rank(4, "arch=gpt ranks=4 ddp=sharded batch=1", "arch=gpt batch=4");
}

static void eight_ranks_equal_one_on_the_joined_batch(void **state) {
    (void)state;
    static const char *const wrappers[] = {"naive", "flat", "bucketed", "sharded"};
    for (int w = 0; w < 4; w++) {
        char words[96];
        snprintf(words, sizeof words, "arch=gpt ranks=8 ddp=%s batch=1", wrappers[w]);
        must_equal_one_rank(8, words, "arch=gpt batch=8");
    }
}

static void ranks_with_accumulation_equal_one_on_the_joined_batch(void **state) {
    (void)state;
    must_equal_one_rank(2,
            "arch=gpt ranks=2 ddp=bucketed bucket_mb=0.01 batch=1 accumulate=2",
            "arch=gpt batch=4");
    must_equal_one_rank(2, "arch=llama ranks=2 ddp=sharded batch=1 accumulate=2",
            "arch=llama batch=4");
    must_equal_one_rank(
            2, "arch=gpt ranks=2 ddp=naive batch=1 accumulate=3", "arch=gpt batch=6");
}

static void must_be_equal(const struct group *a, const struct group *b) {
    assert_memory_equal(a->losses, b->losses, sizeof a->losses);
    size_t bytes = (size_t)a->elements * sizeof *a->gradients;
    assert_memory_equal(a->gradients, b->gradients, bytes);
}

static void wrappers_and_bucket_sizes_change_no_bit(void **state) {
    (void)state;
    // An odd d_ff and vocabulary leave parameters whose counts no slice divides. With
    // more tokens than rows bucketed gathers none, so it is as the others.
    static const char *const bases[] = {
            "arch=gpt batch=4 vocab=67 d_ff=51 ranks=3 threads=1",
            "arch=llama vocab=67 d_ff=51 ranks=2 precision=bf16 threads=1",
            "arch=gpt batch=8 ranks=2 precision=fp16 accumulate=2 checkpoint=block "
            "threads=1",
            "arch=llama d_model=256 heads=4 ranks=2 grad_clip=0.1 threads=1"};
    static const int worlds[] = {3, 2, 2, 2};
    static const char *const wrappers[] = {"ddp=bucketed bucket_mb=0.001",
            "ddp=bucketed bucket_mb=0.013", "ddp=bucketed bucket_mb=25", "ddp=flat",
            "ddp=sharded bucket_mb=1", "ddp=sharded bucket_mb=25"};
    for (int b = 0; b < 4; b++) {
        struct group naive;
        char words[256];
        int steps = b == 3 ? 3 : STEPS;
        snprintf(words, sizeof words, "%s ddp=naive", bases[b]);
        group_run(&naive, worlds[b], steps, words);
        for (int w = 0; w < 6; w++) {
            struct group other;
            snprintf(words, sizeof words, "%s %s", bases[b], wrappers[w]);
            group_run(&other, worlds[b], steps, words);
            must_be_equal(&naive, &other);
            group_finish(&other);
        }
        assert_true(isfinite(naive.losses[0][steps - 1]));
        group_finish(&naive);
    }
}

static void bucket_sizes_change_no_bit_where_tokens_are_gathered(void **state) {
    (void)state;
    static const char base[] = "arch=gpt ranks=2 precision=bf16 accumulate=2 threads=1 "
                               "ddp=bucketed bucket_mb=";
    struct group first;
    char words[256];
    snprintf(words, sizeof words, "%s0.001", base);
    group_run(&first, 2, STEPS, words);
    static const char *const sizes[] = {"0.013", "25"};
    for (int i = 0; i < 2; i++) {
        struct group other;
        snprintf(words, sizeof words, "%s%s", base, sizes[i]);
        group_run(&other, 2, STEPS, words);
        must_be_equal(&first, &other);
        group_finish(&other);
    }
    group_finish(&first);
}

int main(void) {
    const struct CMUnitTest tests[] = {
            cmocka_unit_test(two_ranks_equal_one_on_the_joined_batch),
            cmocka_unit_test(four_ranks_equal_one_on_the_joined_batch),
            cmocka_unit_test(eight_ranks_equal_one_on_the_joined_batch),
            cmocka_unit_test(ranks_with_accumulation_equal_one_on_the_joined_batch),
            cmocka_unit_test(wrappers_and_bucket_sizes_change_no_bit),
            cmocka_unit_test(bucket_sizes_change_no_bit_where_tokens_are_gathered),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

#include "tests/helpers/group.h"

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

enum { DEADLINE_MS = 60000 };

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
    int device = g->place->own_devices ? seat->rank : 0;
    cell_init_on(&c, g->place->kernels, device, g->words);
    c.options.rank = seat->rank;
    c.options.world = g->world;
    if (g->world > 1) {
        struct comm_options options = {.backend = g->place->backend,
                .rank = seat->rank,
                .world = g->world,
                .device = device,
                .shm_fd = -1,
                .base = g->base,
                .base_bytes = g->base_bytes,
                .captured = params_integer(&c.params, PARAM_GRAPH) == GRAPH_ON,
                .deadline_ms = DEADLINE_MS,
                .kernels = g->place->kernels};
        if (!engine_comm_needs(&c.options, &options.bytes, &options.share, &err) ||
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

void group_run(struct group *g, const struct group_place *place, int world, int steps,
        const char *words) {
    struct seat seats[GROUP_WORLD];
    struct cell c;
    struct text err = {0};
    size_t bytes;
    enum comm_share share;
    assert_true(world <= GROUP_WORLD && steps <= GROUP_STEPS);
    *g = (struct group){.place = place, .words = words, .world = world, .steps = steps};
    cell_init(&c, place->kernels, words);
    c.options.world = world;
    assert_true(engine_comm_needs(&c.options, &bytes, &share, &err));
    assert_true(world > 1 ? bytes > 0 : bytes == 0);
    cell_destroy(&c);
    g->base_bytes = comm_shared_bytes(place->backend, world, bytes);
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

void group_finish(struct group *g) {
    for (int r = 0; r < g->world; r++) {
        free(g->weights[r]);
    }
    free(g->base);
    free(g->gradients);
}

double group_loss(const struct group *g, int step) {
    double sum = 0;
    for (int r = 0; r < g->world; r++) {
        sum += g->losses[r][step];
    }
    return sum / g->world;
}

void group_must_equal(const struct group *a, const struct group *b) {
    assert_memory_equal(a->losses, b->losses, sizeof a->losses);
    assert_int_equal(a->elements, b->elements);
    size_t bytes = (size_t)a->elements * sizeof *a->gradients;
    assert_memory_equal(a->gradients, b->gradients, bytes);
}

void group_must_equal_one(const struct group_place *place, int world, const char *words,
        const char *joined, struct group_bounds bounds) {
    struct group one, many;
    group_run(&one, place, 1, GROUP_STEPS, joined);
    group_run(&many, place, world, GROUP_STEPS, words);
    assert_int_equal(one.elements, many.elements);
    double distance = cell_distance(many.gradients, one.gradients, one.elements);
    if (!(distance <= bounds.gradients)) {
        fail_msg("'%s': first gradients differ by %g", words, distance);
    }
    for (int i = 0; i < GROUP_STEPS; i++) {
        double difference = fabs(group_loss(&many, i) - group_loss(&one, i));
        if (!(difference <= bounds.losses)) {
            fail_msg("'%s': step %d differs by %g", words, i, difference);
        }
    }
    group_finish(&one);
    group_finish(&many);
}

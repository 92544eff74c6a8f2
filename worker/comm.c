#include "worker/comm.h"

#include <assert.h>
#include <stdlib.h>

#include "worker/comm_backend.h"
#include "worker/reduce.h"

static const struct comm_backend *chosen(const struct comm_backend *backend) {
    return backend ? backend : &comm_shm_backend;
}

static size_t shared_behind(
        const struct comm_backend *backend, int world, size_t bytes) {
    return backend->shared_bytes ? backend->shared_bytes(world, bytes) : 0;
}

bool comm_available(const struct comm_backend *backend, struct text *err) {
    return !chosen(backend)->available || chosen(backend)->available(err);
}

size_t comm_shared_bytes(const struct comm_backend *backend, int world, size_t bytes) {
    return ranks_shared_bytes(shared_behind(chosen(backend), world, bytes));
}

bool comm_create(
        const struct comm_options *options, struct comm **out, struct text *err) {
    if (options->world < 1 || options->world > COMM_WORLD_MAX) {
        return text_fail(err, "%d ranks: a communicator joins 1 to %d", options->world,
                COMM_WORLD_MAX);
    }
    assert(options->rank >= 0 && options->rank < options->world);
    const struct comm_backend *backend = chosen(options->backend);
    struct comm_failure unasked = {0};
    struct comm_options with = *options;
    with.failure = options->failure ? options->failure : &unasked;
    struct comm *c = text_allocate_zeroed(1, backend->state_bytes);
    c->backend = backend;
    c->announced_bytes = options->bytes;
    bool joined = ranks_join(&c->ranks, &with, backend->name,
            shared_behind(backend, options->world, options->bytes), err);
    if (joined && backend->start(c, &with, err)) {
        *out = c;
        return true;
    }
    if (joined) {
        backend->stop(c);
    }
    ranks_finish(&c->ranks);
    free(c);
    return false;
}

void comm_destroy(struct comm *c) {
    if (c) {
        c->backend->stop(c);
        ranks_finish(&c->ranks);
        free(c);
    }
}

void *comm_allocate(struct comm *c, size_t bytes, struct kernel_error *why) {
    size_t left = c->announced_bytes - c->given_bytes;
    if (bytes > left || c->pieces == COMM_PIECES_MAX) {
        kernel_fail(why, KERNEL_OUT_OF_MEMORY,
                "of the %zu bytes that the ranks share %zu are left, in %d pieces",
                c->announced_bytes, left, COMM_PIECES_MAX - c->pieces);
        why->bytes_asked = bytes;
        why->bytes_free = left;
        return NULL;
    }
    c->given_bytes += bytes;
    c->pieces++;
    return c->backend->allocate(c, bytes, why);
}

/* -- operations ----------------------------------------------------------------------
 */

/* Where element `from` of `t` lies. */
static void *element(const struct tensor *t, int64_t from) {
    return (unsigned char *)t->data + (size_t)from * dtype_size(t->type);
}

static bool can_sum(
        const struct tensor *t, int64_t from, int64_t to, struct text *err) {
    assert(0 <= from && from <= to && to <= tensor_count(t));
    (void)from;
    (void)to;
    return reduce_supports(t->type) ||
           text_fail(err, "cannot add up %s over ranks", dtype_name(t->type));
}

bool comm_all_reduce(struct comm *c, struct stream *stream, struct tensor *t,
        int64_t from, int64_t to, struct text *err) {
    return can_sum(t, from, to, err) &&
           c->backend->all_reduce(c, stream, element(t, from), to - from, t->type, err);
}

bool comm_reduce_scatter(struct comm *c, struct stream *stream, struct tensor *t,
        int64_t from, int64_t to, struct text *err) {
    assert((to - from) % c->ranks.world == 0);
    return can_sum(t, from, to, err) &&
           c->backend->reduce_scatter(c, stream, element(t, from),
                   (to - from) / c->ranks.world, t->type, err);
}

bool comm_all_gather(struct comm *c, struct stream *stream, const struct tensor *from,
        struct tensor *to, int64_t first, int64_t last, struct text *err) {
    int64_t count = (last - first) / c->ranks.world;
    assert(0 <= first && first <= last && last <= tensor_count(to));
    assert((last - first) % c->ranks.world == 0);
    assert(!from || (from->type == to->type && tensor_count(from) == count));
    const void *own = from ? from->data : element(to, first + c->ranks.rank * count);
    return c->backend->all_gather(
            c, stream, own, element(to, first), count, to->type, err);
}

bool comm_wait(struct comm *c, struct stream *stream, int pending, struct text *err) {
    assert(pending >= 0);
    return c->backend->wait(c, stream, pending, err);
}

bool comm_replay(struct comm *c, struct stream *stream, struct text *err) {
    return !c->backend->replay || c->backend->replay(c, stream, err);
}

/* -- the host ------------------------------------------------------------------------
 */

bool comm_sum_host(struct comm *c, double *values, int count, struct text *err) {
    (void)err;
    ranks_sum(&c->ranks, values, count);
    return true;
}

bool comm_barrier(struct comm *c, struct text *err) {
    double nothing = 0;
    return comm_sum_host(c, &nothing, 1, err);
}

int64_t comm_bytes_moved(const struct comm *c) {
    return atomic_load(&c->bytes_moved);
}

int64_t comm_device_bytes(const struct comm *c) {
    return c->backend->device_bytes ? c->backend->device_bytes(c) : -1;
}

void comm_facts(struct comm *c, json_t *fields) {
    json_object_set_new(fields, "comm", json_string(c->backend->name));
    if (c->backend->facts) {
        c->backend->facts(c, fields);
    }
}

void comm_settle(struct comm *c) {
    if (c->backend->settle) {
        c->backend->settle(c);
    }
}

void comm_announce(struct comm *c, int64_t step) {
    ranks_announce(&c->ranks, step);
}

int comm_behind(const struct comm *c) {
    return ranks_behind(&c->ranks);
}

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "worker/comm_backend.h"
#include "worker/meeting.h"
#include "worker/reduce.h"
#include "worker/round.h"
#include "worker/thread.h"

enum {
    PAGE = 4096,
    ALIGN = 64,
    QUEUE_START = 16,
    PATIENCE_S = 1 // before the caller is told what it waits for
};

/* The start of what ranks share here: an operation begins once all have come to it, and
 * is over once all have done their part. */
struct rounds {
    struct meeting in, out;
};

static_assert(sizeof(struct rounds) <= PAGE, "regions start on the next page");

enum act { ALL_REDUCE, REDUCE_SCATTER, ALL_GATHER };

struct operation {
    enum act act;
    size_t offset;    // of the first element, into each rank's region
    int64_t count;    // elements; of each rank where the act cuts shards
    const void *from; // ALL_GATHER: this rank's shard
    enum dtype type;
};

struct shm {
    struct comm base;
    struct rounds *rounds;
    unsigned char *regions; // world × region_bytes
    size_t region_bytes, used_bytes;
    void (*waiting)(void *user), (*moving)(void *user);
    void *user;
    // The communicator's thread, and the queue that `mutex` guards.
    pthread_t thread;
    bool started;
    atomic_bool acting; // it does this rank's part of an operation
    pthread_mutex_t mutex;
    pthread_cond_t queued, finished;
    struct operation *queue;
    size_t capacity;
    uint64_t asked, done; // operations ever queued, ever finished
    bool stop;
};

static struct shm *shm_of(struct comm *c) {
    return (struct shm *)c;
}

static size_t region_size(size_t bytes) {
    return (size_t)round_up((int64_t)bytes + COMM_PIECES_MAX * ALIGN, PAGE);
}

static size_t shared_bytes(int world, size_t bytes) {
    return PAGE + (size_t)world * region_size(bytes);
}

/* -- the operations, on the communicator's thread ------------------------------------
 */

/* Where a rank's copy of the operation's element `index` lies. */
static void *place(
        const struct shm *s, const struct operation *o, int rank, int64_t index) {
    return s->regions + (size_t)rank * s->region_bytes + o->offset +
           (size_t)index * dtype_size(o->type);
}

/* Rank r's slice of `count` elements: [slice_start(r), slice_start(r + 1)). */
static int64_t slice_start(int world, int64_t count, int rank) {
    int64_t blocks = (count + ALIGN - 1) / ALIGN; // whole cache lines for each rank
    int64_t start = blocks * rank / world * ALIGN;
    return start < count ? start : count;
}

/* Bytes that this rank reads from others and writes to them. */
static int64_t act(struct shm *s, const struct operation *o) {
    int rank = s->base.ranks.rank, world = s->base.ranks.world;
    int64_t from = o->count * rank, to = from + o->count;
    if (o->act == ALL_REDUCE) {
        from = slice_start(world, o->count, rank);
        to = slice_start(world, o->count, rank + 1);
    }
    void *parts[COMM_WORLD_MAX];
    for (int r = 0; r < world; r++) {
        parts[r] = place(s, o, r, from);
    }
    int64_t once = (to - from) * (int64_t)dtype_size(o->type) * (world - 1);
    switch (o->act) {
    case ALL_REDUCE:
        reduce_sum(parts, world, to - from, o->type);
        return 2 * once;
    case REDUCE_SCATTER:
        reduce_sum_into(parts[rank], parts, world, to - from, o->type);
        break;
    case ALL_GATHER:
        for (int r = 0; r < world; r++) {
            if (parts[r] != o->from) {
                memcpy(parts[r], o->from, (size_t)o->count * dtype_size(o->type));
            }
        }
        break;
    }
    return once;
}

static void perform(struct shm *s, const struct operation *o, uint64_t index) {
    unsigned until = (unsigned)(index + 1) * (unsigned)s->base.ranks.world;
    meeting_arrive(&s->rounds->in, until);
    meeting_await(&s->rounds->in, until, -1);
    s->acting = true;
    int64_t moved = act(s, o);
    s->acting = false;
    // Others read what this rank wrote, and may next overwrite what it read.
    meeting_arrive(&s->rounds->out, until);
    meeting_await(&s->rounds->out, until, -1);
    atomic_fetch_add(&s->base.bytes_moved, moved);
}

static void *run_queue(void *argument) {
    struct shm *s = argument;
    pthread_mutex_lock(&s->mutex);
    for (;;) {
        while (s->done == s->asked && !s->stop) {
            pthread_cond_wait(&s->queued, &s->mutex);
        }
        if (s->done == s->asked) {
            break;
        }
        uint64_t index = s->done;
        struct operation o = s->queue[index % s->capacity];
        pthread_mutex_unlock(&s->mutex);
        perform(s, &o, index);
        pthread_mutex_lock(&s->mutex);
        s->done++;
        pthread_cond_broadcast(&s->finished);
    }
    pthread_mutex_unlock(&s->mutex);
    return NULL;
}

/* -- the back end --------------------------------------------------------------------
 */

static bool start(
        struct comm *c, const struct comm_options *options, struct text *err) {
    struct shm *s = shm_of(c);
    s->rounds = c->ranks.behind;
    s->regions = (unsigned char *)c->ranks.behind + PAGE;
    s->region_bytes = region_size(options->bytes);
    s->waiting = options->waiting;
    s->moving = options->moving;
    s->user = options->user;
    s->capacity = QUEUE_START;
    s->queue = text_allocate_zeroed(s->capacity, sizeof *s->queue);
    pthread_mutex_init(&s->mutex, NULL);
    pthread_cond_init(&s->queued, NULL);
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&s->finished, &monotonic);
    pthread_condattr_destroy(&monotonic);
    struct kernel_error *why = &options->failure->why;
    s->started = thread_start(
            &s->thread, "communicator", THREAD_STACK_BYTES, run_queue, s, why);
    return s->started || text_fail(err, "%s", why->sentence);
}

static void stop(struct comm *c) {
    struct shm *s = shm_of(c);
    if (s->started) {
        pthread_mutex_lock(&s->mutex);
        s->stop = true;
        pthread_cond_signal(&s->queued);
        pthread_mutex_unlock(&s->mutex);
        pthread_join(s->thread, NULL);
    }
    pthread_cond_destroy(&s->finished);
    pthread_cond_destroy(&s->queued);
    pthread_mutex_destroy(&s->mutex);
    free(s->queue);
}

static void *allocate(struct comm *c, size_t bytes, struct kernel_error *why) {
    (void)why; // a region has room for what was announced, however it is cut
    struct shm *s = shm_of(c);
    void *memory = s->regions + (size_t)c->ranks.rank * s->region_bytes + s->used_bytes;
    s->used_bytes += (size_t)round_up((int64_t)bytes, ALIGN);
    return memory;
}

/* `all` elements at `data`. CPU streams are immediate: what was queued before on the
 * caller's has happened. */
static bool queue(struct comm *c, struct operation o, void *data, int64_t all) {
    struct shm *s = shm_of(c);
    unsigned char *region = s->regions + (size_t)c->ranks.rank * s->region_bytes;
    unsigned char *first = data;
    assert(first >= region &&
            first + (size_t)all * dtype_size(o.type) <= region + s->region_bytes);
    (void)all;
    o.offset = (size_t)(first - region);
    pthread_mutex_lock(&s->mutex);
    if (s->asked - s->done == s->capacity) {
        size_t capacity = s->capacity * 2;
        struct operation *larger = text_allocate_zeroed(capacity, sizeof *larger);
        for (uint64_t i = s->done; i < s->asked; i++) {
            larger[i % capacity] = s->queue[i % s->capacity];
        }
        free(s->queue);
        s->queue = larger;
        s->capacity = capacity;
    }
    s->queue[s->asked % s->capacity] = o;
    s->asked++;
    pthread_cond_signal(&s->queued);
    pthread_mutex_unlock(&s->mutex);
    return true;
}

static bool all_reduce(struct comm *c, struct stream *stream, void *data, int64_t count,
        enum dtype type, struct text *err) {
    (void)stream;
    (void)err;
    struct operation o = {.act = ALL_REDUCE, .count = count, .type = type};
    return queue(c, o, data, count);
}

static bool reduce_scatter(struct comm *c, struct stream *stream, void *data,
        int64_t count, enum dtype type, struct text *err) {
    (void)stream;
    (void)err;
    struct operation o = {.act = REDUCE_SCATTER, .count = count, .type = type};
    return queue(c, o, data, count * c->ranks.world);
}

static bool all_gather(struct comm *c, struct stream *stream, const void *from,
        void *data, int64_t count, enum dtype type, struct text *err) {
    (void)stream;
    (void)err;
    struct operation o = {
            .act = ALL_GATHER, .count = count, .from = from, .type = type};
    return queue(c, o, data, count * c->ranks.world);
}

static bool wait_for(
        struct comm *c, struct stream *stream, int pending, struct text *err) {
    (void)stream;
    (void)err;
    struct shm *s = shm_of(c);
    struct timespec next;
    clock_gettime(CLOCK_MONOTONIC, &next);
    next.tv_sec += PATIENCE_S;
    pthread_mutex_lock(&s->mutex);
    uint64_t seen = s->done;
    while (s->asked - s->done > (uint64_t)pending) {
        if (pthread_cond_timedwait(&s->finished, &s->mutex, &next) != ETIMEDOUT) {
            continue;
        }
        void (*tell)(void *user) =
                s->acting || s->done != seen ? s->moving : s->waiting;
        seen = s->done;
        if (tell) {
            pthread_mutex_unlock(&s->mutex);
            tell(s->user);
            pthread_mutex_lock(&s->mutex);
        }
        next.tv_sec += PATIENCE_S;
    }
    pthread_mutex_unlock(&s->mutex);
    return true;
}

const struct comm_backend comm_shm_backend = {
        .name = "shared memory",
        .state_bytes = sizeof(struct shm),
        .shared_bytes = shared_bytes,
        .start = start,
        .stop = stop,
        .allocate = allocate,
        .all_reduce = all_reduce,
        .reduce_scatter = reduce_scatter,
        .all_gather = all_gather,
        .wait = wait_for,
};

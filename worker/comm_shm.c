#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <pthread.h>
#include <stdalign.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "worker/comm.h"
#include "worker/reduce.h"

enum {
    PAGE = 4096,
    ALIGN = 64,
    PIECES_MAX = 64,
    HOST_VALUES = 16, // a rank's share of one round of comm_sum_host()
    QUEUE_START = 16,
    PATIENCE_MS = 1000 // before the caller is told that it waits
};

/*
 * Where ranks meet: each adds one when it arrives, and the meeting is over once
 * `world` more have come. Nobody can arrive for the next meeting before this one is
 * over, so the count alone tells which meeting it is, and it may wrap around.
 */
struct meeting {
    alignas(ALIGN) atomic_uint arrived;
};

struct seat {
    alignas(ALIGN) atomic_uint taken;
    uint32_t world;
    uint64_t bytes;
    double values[HOST_VALUES];
};

/* The start of the shared memory. All zero is its first state. */
struct header {
    struct meeting joined, host_in, host_out, reduce_in, reduce_out;
    struct seat seats[COMM_WORLD_MAX];
};

struct operation {
    size_t offset; // of the first element, into each rank's region
    int64_t count;
    enum dtype type;
};

struct comm {
    int rank, world;
    struct header *header;
    unsigned char *regions; // world × region_bytes
    size_t region_bytes, used_bytes;
    void *mapping; // NULL where the caller's
    size_t mapping_bytes;
    unsigned host_meetings;
    void (*waiting)(void *user);
    void *user;
    // The communicator's thread, and the queue that `mutex` guards.
    pthread_t thread;
    bool started;
    pthread_mutex_t mutex;
    pthread_cond_t queued, finished;
    struct operation *queue;
    size_t capacity;
    uint64_t asked, done; // operations ever queued, ever finished
    bool stop;
    atomic_llong bytes_moved;
};

static size_t round_up(size_t n, size_t to) {
    return (n + to - 1) / to * to;
}

static size_t region_size(size_t bytes) {
    return round_up(bytes + (size_t)PIECES_MAX * ALIGN, PAGE);
}

static size_t header_size(void) {
    return round_up(sizeof(struct header), PAGE);
}

size_t comm_shared_bytes(int world, size_t bytes) {
    return header_size() + (size_t)world * region_size(bytes);
}

static int64_t now_ms(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* Come to a meeting that is over once `until` have ever arrived. */
static void arrive(struct meeting *m, unsigned until) {
    if (atomic_fetch_add(&m->arrived, 1) + 1 == until) {
        syscall(SYS_futex, &m->arrived, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
    }
}

/* Sleep until the meeting is over; false once `deadline_ms` (−1: none) has passed. */
static bool await(struct meeting *m, unsigned until, int64_t deadline_ms) {
    for (;;) {
        unsigned seen = atomic_load(&m->arrived);
        if ((int)(until - seen) <= 0) {
            return true;
        }
        struct timespec left, *timeout = NULL;
        if (deadline_ms >= 0) {
            int64_t ms = deadline_ms - now_ms();
            if (ms <= 0) {
                return false;
            }
            left = (struct timespec){ms / 1000, ms % 1000 * 1000000};
            timeout = &left;
        }
        syscall(SYS_futex, &m->arrived, FUTEX_WAIT, seen, timeout, NULL, 0);
    }
}

/* As await() without a deadline, on the caller's thread. */
static void await_patiently(struct comm *c, struct meeting *m, unsigned until) {
    if (!await(m, until, now_ms() + PATIENCE_MS)) {
        if (c->waiting) {
            c->waiting(c->user);
        }
        await(m, until, -1);
    }
}

/* Rank r's slice of `count` elements: [slice_start(r), slice_start(r + 1)). */
static int64_t slice_start(const struct comm *c, int64_t count, int rank) {
    int64_t blocks = (count + ALIGN - 1) / ALIGN; // whole cache lines for each rank
    int64_t start = blocks * rank / c->world * ALIGN;
    return start < count ? start : count;
}

static void reduce(struct comm *c, const struct operation *o, uint64_t index) {
    unsigned until = (unsigned)(index + 1) * (unsigned)c->world;
    int64_t from = slice_start(c, o->count, c->rank);
    int64_t to = slice_start(c, o->count, c->rank + 1);
    void *parts[COMM_WORLD_MAX];
    for (int r = 0; r < c->world; r++) {
        parts[r] = c->regions + (size_t)r * c->region_bytes + o->offset +
                   (size_t)from * dtype_size(o->type);
    }
    arrive(&c->header->reduce_in, until);
    await(&c->header->reduce_in, until, -1);
    reduce_sum(parts, c->world, to - from, o->type);
    // Others read what this slice now holds, and may next overwrite what it was made
    // of.
    arrive(&c->header->reduce_out, until);
    await(&c->header->reduce_out, until, -1);
    atomic_fetch_add(
            &c->bytes_moved, (long long)((to - from) * (int64_t)dtype_size(o->type) *
                                         2 * (c->world - 1)));
}

static void *run_queue(void *argument) {
    struct comm *c = argument;
    pthread_mutex_lock(&c->mutex);
    for (;;) {
        while (c->done == c->asked && !c->stop) {
            pthread_cond_wait(&c->queued, &c->mutex);
        }
        if (c->done == c->asked) {
            break;
        }
        uint64_t index = c->done;
        struct operation o = c->queue[index % c->capacity];
        pthread_mutex_unlock(&c->mutex);
        reduce(c, &o, index);
        pthread_mutex_lock(&c->mutex);
        c->done++;
        if (c->done == c->asked) {
            pthread_cond_broadcast(&c->finished);
        }
    }
    pthread_mutex_unlock(&c->mutex);
    return NULL;
}

/* The memory that all ranks share, from the caller, the memfd, or for one rank alone.
 */
static bool map(struct comm *c, const struct comm_options *o, struct text *err) {
    size_t bytes = comm_shared_bytes(c->world, o->bytes);
    if (o->base) {
        assert(o->base_bytes >= bytes);
        c->header = o->base;
        return true;
    }
    if (o->world > 1) {
        struct stat status;
        if (fstat(o->shm_fd, &status) < 0) {
            return text_fail(err, "the ranks' shared memory (descriptor %d): %s",
                    o->shm_fd, strerror(errno));
        }
        // Every rank asks for the same size, so who comes first does not matter.
        if ((size_t)status.st_size < bytes && ftruncate(o->shm_fd, (off_t)bytes) < 0) {
            return text_fail(err, "cannot make the ranks' shared memory %zu bytes: %s",
                    bytes, strerror(errno));
        }
    }
    int flags = o->world > 1 ? MAP_SHARED : MAP_PRIVATE | MAP_ANONYMOUS;
    void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, flags,
            o->world > 1 ? o->shm_fd : -1, 0);
    if (memory == MAP_FAILED) {
        return text_fail(err, "cannot map %zu bytes of the ranks' shared memory: %s",
                bytes, strerror(errno));
    }
    c->header = c->mapping = memory;
    c->mapping_bytes = bytes;
    return true;
}

/* Take this rank's seat and wait for the others to take theirs. */
static bool join(struct comm *c, const struct comm_options *o, struct text *err) {
    struct seat *mine = &c->header->seats[c->rank];
    mine->world = (uint32_t)c->world;
    mine->bytes = o->bytes;
    if (atomic_exchange(&mine->taken, 1) != 0) {
        return text_fail(err, "rank %d has joined already", c->rank);
    }
    arrive(&c->header->joined, (unsigned)c->world);
    int64_t deadline_ms = now_ms() + o->deadline_ms;
    int64_t patience_ms = o->deadline_ms < PATIENCE_MS ? o->deadline_ms : PATIENCE_MS;
    unsigned all = (unsigned)c->world;
    bool complete = await(&c->header->joined, all, now_ms() + patience_ms);
    if (!complete && c->waiting) {
        c->waiting(c->user);
    }
    complete = complete || await(&c->header->joined, all, deadline_ms);
    if (!complete) {
        text_addf(err, "after %lld s still missing: rank",
                (long long)(o->deadline_ms / 1000));
        const char *separator = " ";
        for (int r = 0; r < c->world; r++) {
            if (!atomic_load(&c->header->seats[r].taken)) {
                text_addf(err, "%s%d", separator, r);
                separator = ", ";
            }
        }
        return false;
    }
    for (int r = 0; r < c->world; r++) {
        const struct seat *s = &c->header->seats[r];
        if (s->world != mine->world || s->bytes != mine->bytes) {
            return text_fail(err,
                    "rank %d of %u shares %llu bytes, but rank %d of %u shares %llu", r,
                    s->world, (unsigned long long)s->bytes, c->rank, mine->world,
                    (unsigned long long)mine->bytes);
        }
    }
    return true;
}

bool comm_create(
        const struct comm_options *options, struct comm **out, struct text *err) {
    if (options->world < 1 || options->world > COMM_WORLD_MAX) {
        return text_fail(err, "%d ranks: shared memory joins 1 to %d", options->world,
                COMM_WORLD_MAX);
    }
    assert(options->rank >= 0 && options->rank < options->world);
    struct comm *c = text_allocate_zeroed(1, sizeof *c);
    c->rank = options->rank;
    c->world = options->world;
    c->region_bytes = region_size(options->bytes);
    c->capacity = QUEUE_START;
    c->queue = text_allocate_zeroed(c->capacity, sizeof *c->queue);
    pthread_mutex_init(&c->mutex, NULL);
    pthread_cond_init(&c->queued, NULL);
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&c->finished, &monotonic);
    pthread_condattr_destroy(&monotonic);
    c->waiting = options->waiting;
    c->user = options->user;
    if (!map(c, options, err)) {
        goto fail;
    }
    c->regions = (unsigned char *)c->header + header_size();
    if (!join(c, options, err)) {
        goto fail;
    }
    int failure = pthread_create(&c->thread, NULL, run_queue, c);
    if (failure) {
        text_addf(err, "cannot start the communicator's thread: %s", strerror(failure));
        goto fail;
    }
    c->started = true;
    *out = c;
    return true;
fail:
    comm_destroy(c);
    return false;
}

void comm_destroy(struct comm *c) {
    if (!c) {
        return;
    }
    if (c->started) {
        pthread_mutex_lock(&c->mutex);
        c->stop = true;
        pthread_cond_signal(&c->queued);
        pthread_mutex_unlock(&c->mutex);
        pthread_join(c->thread, NULL);
    }
    pthread_cond_destroy(&c->finished);
    pthread_cond_destroy(&c->queued);
    pthread_mutex_destroy(&c->mutex);
    if (c->mapping) {
        munmap(c->mapping, c->mapping_bytes);
    }
    free(c->queue);
    free(c);
}

void *comm_allocate(struct comm *c, size_t bytes) {
    size_t size = round_up(bytes, ALIGN);
    if (size > c->region_bytes - c->used_bytes) {
        return NULL;
    }
    void *memory = c->regions + (size_t)c->rank * c->region_bytes + c->used_bytes;
    c->used_bytes += size;
    return memory;
}

bool comm_all_reduce(struct comm *c, struct stream *stream, struct tensor *t,
        int64_t from, int64_t to, struct text *err) {
    (void)stream; // CPU streams are immediate: what was queued has happened
    assert(0 <= from && from <= to && to <= tensor_count(t));
    if (!reduce_supports(t->type)) {
        return text_fail(err, "cannot add up %s over ranks", dtype_name(t->type));
    }
    unsigned char *region = c->regions + (size_t)c->rank * c->region_bytes;
    unsigned char *first =
            (unsigned char *)t->data + (size_t)from * dtype_size(t->type);
    size_t bytes = (size_t)(to - from) * dtype_size(t->type);
    assert(first >= region && first + bytes <= region + c->region_bytes);
    (void)bytes;
    pthread_mutex_lock(&c->mutex);
    if (c->asked - c->done == c->capacity) {
        size_t capacity = c->capacity * 2;
        struct operation *queue = text_allocate_zeroed(capacity, sizeof *queue);
        for (uint64_t i = c->done; i < c->asked; i++) {
            queue[i % capacity] = c->queue[i % c->capacity];
        }
        free(c->queue);
        c->queue = queue;
        c->capacity = capacity;
    }
    c->queue[c->asked % c->capacity] =
            (struct operation){(size_t)(first - region), to - from, t->type};
    c->asked++;
    pthread_cond_signal(&c->queued);
    pthread_mutex_unlock(&c->mutex);
    return true;
}

bool comm_wait(struct comm *c, struct stream *stream, struct text *err) {
    (void)stream;
    (void)err;
    struct timespec deadline;
    clock_gettime(CLOCK_MONOTONIC, &deadline);
    deadline.tv_sec += PATIENCE_MS / 1000;
    pthread_mutex_lock(&c->mutex);
    int late = 0;
    while (c->done != c->asked && !late) {
        late = pthread_cond_timedwait(&c->finished, &c->mutex, &deadline);
    }
    if (c->done != c->asked && c->waiting) {
        pthread_mutex_unlock(&c->mutex);
        c->waiting(c->user);
        pthread_mutex_lock(&c->mutex);
    }
    while (c->done != c->asked) {
        pthread_cond_wait(&c->finished, &c->mutex);
    }
    pthread_mutex_unlock(&c->mutex);
    return true;
}

bool comm_sum_host(struct comm *c, double *values, int count, struct text *err) {
    (void)err;
    for (int start = 0; start < count; start += HOST_VALUES) {
        int n = count - start < HOST_VALUES ? count - start : HOST_VALUES;
        unsigned until = ++c->host_meetings * (unsigned)c->world;
        struct seat *seats = c->header->seats;
        memcpy(seats[c->rank].values, values + start, (size_t)n * sizeof *values);
        arrive(&c->header->host_in, until);
        await_patiently(c, &c->header->host_in, until);
        for (int i = 0; i < n; i++) {
            double sum = 0;
            for (int r = 0; r < c->world; r++) {
                sum += seats[r].values[i];
            }
            values[start + i] = sum;
        }
        // Nobody may write the next values before all have read these.
        arrive(&c->header->host_out, until);
        await_patiently(c, &c->header->host_out, until);
    }
    return true;
}

bool comm_barrier(struct comm *c, struct text *err) {
    double nothing = 0;
    return comm_sum_host(c, &nothing, 1, err);
}

int64_t comm_bytes_moved(const struct comm *c) {
    return atomic_load(&c->bytes_moved);
}

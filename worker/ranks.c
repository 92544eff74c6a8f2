#include "worker/ranks.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdalign.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "worker/meeting.h"
#include "worker/round.h"

enum {
    PAGE = 4096,
    HOST_VALUES = 16,  // a rank's share of one round of ranks_sum()
    WORD_SIZE = 40,    // of a nonce or a back end's name
    PATIENCE_MS = 1000 // until the caller is told (again) that it waits
};

struct seat {
    alignas(MEETING_ALIGN) atomic_uint taken;
    uint32_t world;
    uint64_t bytes;
    char backend[WORD_SIZE], nonce[WORD_SIZE];
    double values[HOST_VALUES];
    alignas(MEETING_ALIGN) atomic_llong announced; // the step after it
};

/* The start of the shared memory. All zero is its first state. */
struct ranks_header {
    struct meeting joined, in, out;
    unsigned char message[RANKS_MESSAGE_MAX];
    struct seat seats[COMM_WORLD_MAX];
};

size_t ranks_shared_bytes(size_t behind) {
    return (size_t)round_up(sizeof(struct ranks_header), PAGE) + behind;
}

/*
 * Whether the descriptor may be made a cell's: no file that somebody could find by
 * name, nor memory with something else in it. What other ranks made of it may have
 * another size; they are asked later.
 */
static bool is_ours(int fd, struct text *err) {
    struct stat status;
    if (fstat(fd, &status) < 0) {
        return text_fail(err, "the ranks' shared memory (descriptor %d): %s", fd,
                strerror(errno));
    }
    if (status.st_nlink > 0 || fcntl(fd, F_GET_SEALS) < 0) {
        return text_fail(err,
                "the ranks' shared memory (descriptor %d) is a file or a device: "
                "expected a memfd",
                fd);
    }
    return status.st_size == 0 || (size_t)status.st_size >= ranks_shared_bytes(0) ||
           text_fail(err,
                   "the ranks' shared memory (descriptor %d) holds %lld bytes of "
                   "something else",
                   fd, (long long)status.st_size);
}

/* Make it at least so large. Who comes first does not matter: every rank asks for the
 * same size. */
static bool grow(const struct comm_options *o, size_t bytes, struct text *err) {
    struct stat status;
    if (fstat(o->shm_fd, &status) == 0 && (size_t)status.st_size >= bytes) {
        return true;
    }
    return ftruncate(o->shm_fd, (off_t)bytes) == 0 ||
           text_fail(err, "cannot make the ranks' shared memory %zu bytes: %s", bytes,
                   strerror(errno));
}

/* The memory that all ranks share, from the caller, the memfd, or for one rank alone.
 */
static bool map(
        struct ranks *r, const struct comm_options *o, size_t bytes, struct text *err) {
    if (o->base) {
        assert(o->base_bytes >= bytes);
        r->header = o->base;
        return true;
    }
    if (o->world > 1 && (!is_ours(o->shm_fd, err) || !grow(o, bytes, err))) {
        return false;
    }
    int flags = o->world > 1 ? MAP_SHARED : MAP_PRIVATE | MAP_ANONYMOUS;
    void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, flags,
            o->world > 1 ? o->shm_fd : -1, 0);
    if (memory == MAP_FAILED) {
        if (errno == ENOMEM) {
            o->failure->why.kind = KERNEL_OUT_OF_MEMORY;
            o->failure->why.bytes_asked = bytes;
        }
        return text_fail(err, "cannot map %zu bytes of the ranks' shared memory: %s",
                bytes, strerror(errno));
    }
    r->header = r->mapping = memory;
    r->mapping_bytes = bytes;
    return true;
}

/* Whether all who sit here mean the same communicator. */
static bool agree(const struct ranks *r, struct text *err) {
    const struct seat *mine = &r->header->seats[r->rank];
    for (int i = 0; i < r->world; i++) {
        const struct seat *s = &r->header->seats[i];
        if (strcmp(s->nonce, mine->nonce) != 0) {
            return text_fail(err, "rank %d is of attempt '%s', but rank %d of '%s'", i,
                    s->nonce, r->rank, mine->nonce);
        }
        if (strcmp(s->backend, mine->backend) != 0) {
            return text_fail(err, "rank %d came for %s, but rank %d for %s", i,
                    s->backend, r->rank, mine->backend);
        }
        if (s->world != mine->world || s->bytes != mine->bytes) {
            return text_fail(err,
                    "rank %d of %u shares %llu bytes, but rank %d of %u shares %llu", i,
                    s->world, (unsigned long long)s->bytes, r->rank, mine->world,
                    (unsigned long long)mine->bytes);
        }
    }
    return true;
}

static bool name_missing(const struct ranks *r, int64_t deadline_ms, struct text *err) {
    text_addf(err, "after %lld s still missing: rank", (long long)(deadline_ms / 1000));
    const char *separator = " ";
    for (int i = 0; i < r->world; i++) {
        if (!atomic_load(&r->header->seats[i].taken)) {
            text_addf(err, "%s%d", separator, i);
            separator = ", ";
        }
    }
    return false;
}

/* False once the deadline has passed; tells each second that this rank waits. */
static bool await_until(
        struct ranks *r, struct meeting *m, unsigned until, int64_t deadline_ms) {
    for (;;) {
        int64_t next_ms = meeting_now_ms() + PATIENCE_MS;
        bool last = next_ms >= deadline_ms;
        bool over = meeting_await(m, until, last ? deadline_ms : next_ms);
        if (over || last) {
            return over;
        }
        if (r->waiting) {
            r->waiting(r->user);
        }
    }
}

bool ranks_join(struct ranks *r, const struct comm_options *o, const char *backend,
        size_t behind, struct text *err) {
    *r = (struct ranks){
            .rank = o->rank, .world = o->world, .waiting = o->waiting, .user = o->user};
    if (!map(r, o, ranks_shared_bytes(behind), err)) {
        return false;
    }
    r->behind = (unsigned char *)r->header + ranks_shared_bytes(0);
    struct seat *mine = &r->header->seats[r->rank];
    if (atomic_exchange(&mine->taken, 1) != 0) {
        return text_fail(err, "rank %d has joined already", r->rank);
    }
    mine->world = (uint32_t)r->world;
    mine->bytes = o->bytes;
    snprintf(mine->backend, sizeof mine->backend, "%s", backend);
    snprintf(mine->nonce, sizeof mine->nonce, "%s", o->nonce ? o->nonce : "");
    struct meeting *joined = &r->header->joined;
    unsigned all = (unsigned)r->world;
    meeting_arrive(joined, all);
    int64_t deadline_ms = meeting_now_ms() + o->deadline_ms;
    bool met = await_until(r, joined, all, deadline_ms);
    o->failure->others = !met || !agree(r, err);
    return met ? !o->failure->others : name_missing(r, o->deadline_ms, err);
}

void ranks_finish(struct ranks *r) {
    if (r->mapping) {
        munmap(r->mapping, r->mapping_bytes);
    }
    *r = (struct ranks){0};
}

void ranks_await(struct ranks *r, struct meeting *m, unsigned until) {
    await_until(r, m, until, INT64_MAX);
}

/* Between the two what the others wrote may be read; nobody writes anew before all have
 * read. */
static void open_round(struct ranks *r) {
    unsigned until = ++r->meetings * (unsigned)r->world;
    meeting_arrive(&r->header->in, until);
    ranks_await(r, &r->header->in, until);
}

static void close_round(struct ranks *r) {
    unsigned until = r->meetings * (unsigned)r->world;
    meeting_arrive(&r->header->out, until);
    ranks_await(r, &r->header->out, until);
}

void ranks_sum(struct ranks *r, double *values, int count) {
    struct seat *seats = r->header->seats;
    for (int start = 0; start < count; start += HOST_VALUES) {
        int n = count - start < HOST_VALUES ? count - start : HOST_VALUES;
        memcpy(seats[r->rank].values, values + start, (size_t)n * sizeof *values);
        open_round(r);
        for (int i = 0; i < n; i++) {
            double sum = 0;
            for (int k = 0; k < r->world; k++) {
                sum += seats[k].values[i];
            }
            values[start + i] = sum;
        }
        close_round(r);
    }
}

void ranks_tell(struct ranks *r, void *message, size_t bytes) {
    assert(bytes <= RANKS_MESSAGE_MAX);
    if (r->rank == 0) {
        memcpy(r->header->message, message, bytes);
    }
    open_round(r);
    memcpy(message, r->header->message, bytes);
    close_round(r);
}

void ranks_announce(struct ranks *r, int64_t step) {
    atomic_store(&r->header->seats[r->rank].announced, step + 1);
}

int ranks_behind(const struct ranks *r) {
    struct seat *seats = r->header->seats;
    long long own = atomic_load(&seats[r->rank].announced);
    for (int i = 0; i < r->world; i++) {
        if (atomic_load(&seats[i].announced) < own) {
            return i;
        }
    }
    return -1;
}

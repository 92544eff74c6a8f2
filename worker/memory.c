#include "worker/memory.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "worker/comm.h"
#include "worker/program.h"
#include "worker/round.h"

const char *memory_owner_name(enum memory_owner owner) {
    static const char *const names[OWNER_COUNT] = {
            "params", "grads", "optimizer", "activations", "scratch", "library"};
    return names[owner];
}

/* -- the plan ------------------------------------------------------------------------
 */

/* A planned tensor on its way to an offset. */
struct item {
    int id;
    int64_t bytes; /* with red zone, rounded up to the alignment */
    int first, last;
    int64_t offset;
};

static int by_size(const void *a, const void *b) {
    const struct item *x = a, *y = b;
    if (x->bytes != y->bytes) {
        return x->bytes < y->bytes ? 1 : -1;
    }
    return x->first != y->first ? x->first - y->first : x->id - y->id;
}

static int by_lifetime(const void *a, const void *b) {
    const struct item *x = a, *y = b;
    int span_x = x->last - x->first, span_y = y->last - y->first;
    return span_x != span_y ? span_y - span_x : by_size(a, b);
}

static int by_start(const void *a, const void *b) {
    const struct item *x = a, *y = b;
    return x->first != y->first ? x->first - y->first : by_size(a, b);
}

/*
 * Put items one after the other at the lowest offset free throughout their lifetime;
 * returns the end of the highest. `sorted` [count] holds those placed, by offset.
 */
static int64_t place(struct item *items, int count, struct item **sorted) {
    int64_t end = 0;
    for (int i = 0; i < count; i++) {
        struct item *it = &items[i];
        it->offset = 0;
        for (int k = 0; k < i; k++) {
            const struct item *other = sorted[k];
            if (other->last < it->first || other->first > it->last) {
                continue;
            }
            if (other->offset >= it->offset + it->bytes) {
                break;
            }
            if (other->offset + other->bytes > it->offset) {
                it->offset = other->offset + other->bytes;
            }
        }
        int k = i;
        for (; k > 0 && sorted[k - 1]->offset > it->offset; k--) {
            sorted[k] = sorted[k - 1];
        }
        sorted[k] = it;
        if (it->offset + it->bytes > end) {
            end = it->offset + it->bytes;
        }
    }
    return end;
}

static int collect(const struct program *p, enum memory_owner owner, struct item *out) {
    int count = 0;
    for (int i = 1; i < p->tensor_count; i++) {
        const struct program_tensor *t = &p->tensors[i];
        if (t->owner == owner && t->base == i && !t->fixed && t->first >= 0) {
            int64_t bytes = (int64_t)tensor_bytes(&t->tensor) + p->red_zone;
            out[count++] = (struct item){.id = i,
                    .bytes = round_up(bytes, MEMORY_ALIGN),
                    .first = t->first,
                    .last = t->last};
        }
    }
    return count;
}

/*
 * Greedy placement is at the mercy of its order: largest first suits transients,
 * longest-lived first suits what is kept for backward. Try each, keep the best.
 */
static void plan_owner(struct program *p, enum memory_owner owner) {
    static int (*const orders[])(const void *, const void *) = {
            by_size, by_lifetime, by_start};
    size_t room = (size_t)p->tensor_count;
    struct item *items = text_allocate(room * sizeof *items);
    struct item **sorted = text_allocate(room * sizeof *sorted);
    int count = collect(p, owner, items);
    int64_t best = INT64_MAX;
    for (size_t i = 0; i < sizeof orders / sizeof *orders; i++) {
        qsort(items, (size_t)count, sizeof *items, orders[i]);
        int64_t end = place(items, count, sorted);
        if (end < best) {
            best = end;
            for (int k = 0; k < count; k++) {
                p->tensors[items[k].id].offset = items[k].offset;
            }
        }
    }
    free(sorted);
    free(items);
}

/* Bytes of planned tensors alive at each op, added into `live` [op_count]. */
static void add_live(const struct program *p, int64_t *live) {
    for (int i = 1; i < p->tensor_count; i++) {
        const struct program_tensor *t = &p->tensors[i];
        if (t->base == i && !t->fixed) {
            for (int k = t->first; k >= 0 && k <= t->last; k++) {
                live[k] += (int64_t)tensor_bytes(&t->tensor);
            }
        }
    }
}

static void phase_bytes(const struct program *p, struct memory_plan *out) {
    int64_t fixed = 0;
    for (int i = 1; i < p->tensor_count; i++) {
        const struct program_tensor *t = &p->tensors[i];
        fixed += t->base == i && t->fixed ? (int64_t)tensor_bytes(&t->tensor) : 0;
    }
    int64_t *live = text_allocate_zeroed((size_t)p->op_count + 1, sizeof *live);
    add_live(p, live);
    for (int i = 0; i < p->op_count; i++) {
        if (p->ops[i].phase == PHASE_FORWARD) {
            out->forward_bytes = fixed + live[i];
        } else if (p->ops[i].phase == PHASE_BACKWARD &&
                   fixed + live[i] > out->backward_bytes) {
            out->backward_bytes = fixed + live[i];
        }
    }
    free(live);
}

void memory_plan(struct program *p, int64_t red_zone, struct memory_plan *out) {
    *out = (struct memory_plan){0};
    p->red_zone = red_zone;
    program_lifetimes(p);
    for (int owner = 0; owner < OWNER_COUNT; owner++) {
        plan_owner(p, owner);
    }
    for (int i = 1; i < p->tensor_count; i++) {
        const struct program_tensor *t = &p->tensors[i];
        if (t->base != i || (!t->fixed && t->first < 0)) {
            continue;
        }
        int64_t end = t->offset + (int64_t)tensor_bytes(&t->tensor);
        end += t->fixed ? 0 : red_zone;
        if (end > out->bytes[t->owner]) {
            out->bytes[t->owner] = end;
        }
    }
    phase_bytes(p, out);
}

/* -- the arenas ----------------------------------------------------------------------
 */

size_t memory_arena_bytes(int64_t planned, bool poison) {
    return (size_t)(planned + (poison ? MEMORY_GUARD : 0));
}

/* `comm` NULL: from the device. */
static bool allocate_arena(struct memory *m, enum memory_owner owner, struct comm *comm,
        struct kernel_error *why, struct text *err) {
    size_t bytes = memory_arena_bytes(m->planned[owner], m->poisoned);
    if (comm) {
        m->borrowed[owner] = true;
        m->arenas[owner] = comm_allocate(comm, bytes, why);
        return m->arenas[owner] ||
               text_fail(err, "cannot share %zu bytes for %s with the other ranks: %s",
                       bytes, memory_owner_name(owner), why->sentence);
    }
    if (!m->access.kernels->allocate(
                m->access.device, MEMORY_DEVICE, bytes, &m->arenas[owner], why)) {
        m->arenas[owner] = NULL;
        return text_fail(err, "cannot allocate %zu bytes for %s: %s", bytes,
                memory_owner_name(owner), why->sentence);
    }
    return true;
}

bool memory_init(struct memory *m, const struct device_access *access,
        const int64_t planned[OWNER_COUNT], const bool shared[OWNER_COUNT],
        struct comm *comm, bool poison, struct kernel_error *why, struct text *err) {
    *m = (struct memory){.access = *access, .poisoned = poison};
    memcpy(m->planned, planned, sizeof m->planned);
    for (int owner = 0; owner < OWNER_COUNT; owner++) {
        if (!allocate_arena(m, owner, shared[owner] ? comm : NULL, why, err)) {
            goto fail;
        }
        if (poison &&
                !access->kernels->fill(access->stream, m->arenas[owner], MEMORY_POISON,
                        memory_arena_bytes(planned[owner], true), why)) {
            text_fail(
                    err, "cannot fill %s: %s", memory_owner_name(owner), why->sentence);
            goto fail;
        }
    }
    return true;
fail:
    memory_finish(m);
    return false;
}

void memory_finish(struct memory *m) {
    for (int owner = 0; owner < OWNER_COUNT; owner++) {
        if (m->arenas[owner] && !m->borrowed[owner]) {
            m->access.kernels->release(m->access.device, MEMORY_DEVICE,
                    m->arenas[owner],
                    memory_arena_bytes(m->planned[owner], m->poisoned));
        }
    }
    *m = (struct memory){0};
}

void memory_bind(const struct memory *m, struct program *p) {
    for (int i = 1; i < p->tensor_count; i++) {
        struct program_tensor *t = &p->tensors[i];
        const struct program_tensor *base = &p->tensors[t->base];
        if (!base->fixed && base->first < 0) {
            continue;
        }
        int64_t offset = base->offset + (t->base == i ? 0 : t->offset);
        t->tensor.data = (char *)m->arenas[t->owner] + offset;
    }
}

/* The end of the last byte of `arena` that is not poison. */
static bool high_water(const struct memory *m, const char *arena, int64_t bytes,
        int64_t *mark, struct text *err) {
    enum { CHUNK = 1 << 20 };
    const struct kernels *k = m->access.kernels;
    unsigned char *host = text_allocate(CHUNK);
    struct kernel_error why = {0};
    bool good = true;
    *mark = 0;
    for (int64_t end = bytes; good && end > 0 && *mark == 0;) {
        int64_t size = end < CHUNK ? end : CHUNK;
        good = k->copy(m->access.stream, COPY_TO_HOST, host, arena + end - size,
                       (size_t)size, &why) &&
               k->stream_synchronize(m->access.stream, &why);
        for (int64_t i = size; good && i > 0 && *mark == 0; i--) {
            *mark = host[i - 1] != MEMORY_POISON ? end - size + i : 0;
        }
        end -= size;
    }
    free(host);
    return good || text_fail(err, "cannot read memory back: %s", why.sentence);
}

bool memory_measure(
        const struct memory *m, int64_t measured[OWNER_COUNT], struct text *err) {
    for (int owner = 0; owner < OWNER_COUNT; owner++) {
        measured[owner] = -1;
        if (m->poisoned &&
                !high_water(m, m->arenas[owner], m->planned[owner] + MEMORY_GUARD,
                        &measured[owner], err)) {
            return false;
        }
    }
    return true;
}

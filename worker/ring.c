#include "worker/ring.h"

#include <assert.h>

static size_t aligned(size_t bytes) {
    return (bytes + 63) / 64 * 64;
}

static size_t slot_bytes(const struct ring *r) {
    return aligned(r->down) + aligned(r->back);
}

bool ring_init(struct ring *r, const struct device_access *access, size_t down,
        size_t back, struct kernel_error *err) {
    const struct kernels *k = access->kernels;
    *r = (struct ring){.access = *access, .down = down, .back = back};
    for (int i = 0; i < RING_SLOTS; i++) {
        void *memory = NULL;
        bool good =
                k->allocate(access->device, MEMORY_PINNED, slot_bytes(r), &memory, err);
        r->slots[i].memory = good ? memory : NULL;
        if (!good || !k->event_create(access->stream, &r->slots[i].event, err)) {
            ring_finish(r);
            return false;
        }
    }
    return true;
}

void ring_finish(struct ring *r) {
    for (int i = 0; i < RING_SLOTS; i++) {
        struct ring_slot *slot = &r->slots[i];
        if (slot->event) {
            r->access.kernels->event_destroy(slot->event);
        }
        if (slot->memory) {
            r->access.kernels->release(
                    r->access.device, MEMORY_PINNED, slot->memory, slot_bytes(r));
        }
    }
    *r = (struct ring){0};
}

void *ring_input(struct ring *r) {
    assert(r->queued - r->finished < RING_SLOTS);
    return r->slots[r->queued % RING_SLOTS].memory;
}

bool ring_queue(struct ring *r, const void *from, struct kernel_error *err) {
    const struct kernels *k = r->access.kernels;
    struct ring_slot *slot = &r->slots[r->queued % RING_SLOTS];
    if (!k->copy(r->access.stream, COPY_TO_HOST, slot->memory + aligned(r->down), from,
                r->back, err) ||
            !k->event_record(r->access.stream, slot->event, err)) {
        return false;
    }
    r->queued++;
    return true;
}

bool ring_wait(struct ring *r, const void **outcome, struct kernel_error *err) {
    assert(r->finished < r->queued);
    struct ring_slot *slot = &r->slots[r->finished % RING_SLOTS];
    *outcome = slot->memory + aligned(r->down);
    if (!r->access.kernels->event_synchronize(slot->event, err)) {
        return false;
    }
    r->finished++;
    return true;
}

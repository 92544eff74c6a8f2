/*
 * Where ranks that share memory wait for each other: a count of arrivals. Each adds one
 * when it arrives, and the meeting is over once `world` more have come. Nobody can
 * arrive for the next meeting before this one is over, so the count alone tells which
 * meeting it is, and it may wrap around. All zero is the first state. Waiting costs no
 * CPU.
 */
#ifndef WORKER_MEETING_H
#define WORKER_MEETING_H

#include <stdalign.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

/* A cache line, so that two meetings do not slow each other. */
#define MEETING_ALIGN 64

struct meeting {
    alignas(MEETING_ALIGN) atomic_uint arrived;
};

/* Come to a meeting that is over once `until` have ever arrived. */
void meeting_arrive(struct meeting *m, unsigned until);

/* Sleep until it is over; false once meeting_now_ms() has passed `deadline_ms` (−1:
 * none). */
bool meeting_await(struct meeting *m, unsigned until, int64_t deadline_ms);

int64_t meeting_now_ms(void);

#endif

/* What this machine is: for provenance, for staleness, and for `runner devices`. */
#ifndef RUNNER_MACHINE_H
#define RUNNER_MACHINE_H

#include <stdbool.h>
#include <stdint.h>

#include "matrix/owner.h"
#include "matrix/text.h"

struct machine {
    char *host, *boot_id, *cpu, *kernel; /* "" where unknown; owned */
    int cores;                           /* that this process may run on */
    int64_t memory_bytes;
    char **gpus;        /* their models, NULL-terminated; owned */
    char **gpu_bus_ids; /* their PCI addresses, which order them; likewise */
    int gpu_count;
    char *name; /* what results are comparable within: CPU and GPU model and count */
};

/* Never fails: what cannot be found out is "" or 0. */
void machine_init(struct machine *m);
void machine_finish(struct machine *m);

/* This process as an owner. */
void machine_self(struct owner_process *out);

/* Whether `p` of host `o->host`, boot `o->boot_id` still runs, as seen from `m`. A
 * process of another host counts as alive: from here nobody can tell. */
bool machine_process_lives(
        const struct machine *m, const struct owner *o, const struct owner_process *p);

/* How often the kernel has killed for memory since boot; 0 where it does not say. */
int64_t machine_oom_kills(void);

int64_t machine_unix_ms(void);

/* 32 hex digits from the kernel's random numbers; `out` takes 33 bytes. */
void machine_nonce(char out[33]);

#endif

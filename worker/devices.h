/* What this worker can run on: `devices` for people and tools, `memory` for the runner,
 * which asks it between cells. */
#ifndef WORKER_DEVICES_H
#define WORKER_DEVICES_H

#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>

/* Every device with all that it tells of itself. New reference. */
json_t *devices_list(void);

/*
 * Answer `in` line by line, until its end, each at once with one line on `out`: how
 * full the devices are whose PCI addresses the line names ("0000:65:00.0 …"). Takes no
 * context and none of their memory. A worker on the CPU tells of the host, whatever it
 * is asked. False where `out` cannot be written.
 */
bool devices_tell_memory(FILE *in, FILE *out);

#endif

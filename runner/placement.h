/*
 * Where a rank runs: on the CPUs that are near its GPU, so that what goes between host
 * and device does not cross the machine. Linux tells them per PCI device.
 */
#ifndef RUNNER_PLACEMENT_H
#define RUNNER_PLACEMENT_H

#include <sched.h>
#include <stdbool.h>

#include "matrix/text.h"

#define PLACEMENT_ROOT "/sys/bus/pci/devices"

/*
 * The CPUs near the device at `bus_id` ("0000:65:00.0"; case does not matter), as
 * `root` (PLACEMENT_ROOT) tells them, of those that this process may run on. False, and
 * `out` is empty, where nothing tells, as in many virtual machines, or none of them may
 * be used: the rank then runs wherever it may.
 */
bool placement_find(const char *root, const char *bus_id, cpu_set_t *out);

/* "0-3,8" and back; false for what is no such list. */
bool placement_parse(const char *list, cpu_set_t *out);
void placement_show(const cpu_set_t *cpus, struct text *out);

#endif

/*
 * Everything that descends from this process. The supervisor (and the runner behind it)
 * is a subreaper, so a grandchild that called setsid() and lost its parent becomes its
 * child and can be found, killed and reaped here.
 */
#ifndef RUNNER_FAMILY_H
#define RUNNER_FAMILY_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "matrix/text.h"

/* From now on orphans below this process become its children. */
bool family_adopt_orphans(struct text *err);

/*
 * Kill every descendant of this process but `spare` and what descends from them (an
 * array of `spare_count` ids), reap those that are children, and return how many were
 * alive. Repeats until none is left, waiting at most `limit_ms` for the kernel.
 */
int family_kill_all(const pid_t *spare, int spare_count, int64_t limit_ms);

/*
 * Kill every process of this machine, this one excepted, whose environment says
 * LM_NONCE=`nonce`; return how many there were. For what outlived both its supervisor
 * and its runner.
 */
int family_kill_nonce(const char *nonce, int64_t limit_ms);

/*
 * When process `pid` started, in clock ticks since boot: with the boot id it names one
 * process for ever. False where there is no such process, or it is dead and merely not
 * reaped yet.
 */
bool family_start_time(pid_t pid, int64_t *ticks);

#endif

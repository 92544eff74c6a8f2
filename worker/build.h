/* Which build this is: what makes an old result stale. */
#ifndef WORKER_BUILD_H
#define WORKER_BUILD_H

/* The linker's build-id of this executable, in hex; "unknown" where it has none. */
const char *build_id(void);

#endif

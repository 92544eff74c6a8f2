/*
 * One rank as its supervisor sees it: the process, and what its events have said so
 * far. The rank writes events into a pipe; every byte is appended to rank<N>.jsonl,
 * then read. Nothing here decides what a rank's end means: that is runner/verdict.
 */
#ifndef RUNNER_RANK_H
#define RUNNER_RANK_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "matrix/status.h"
#include "matrix/text.h"
#include "runner/child.h"
#include "runner/output.h"

struct rank {
    int number;
    struct child child; /* pid 0 once it has been reaped */
    pid_t pid;          /* stays after that */
    struct child_end end;
    bool started, ended;
    int end_order; /* 0 for the first rank seen to end */
    bool killed;   /* the supervisor signalled it before it ended */
    char *cpus;    /* "0-31", that it was held to; NULL: any. Owned */

    int pipe_fd;      /* read end, non-blocking; -1 when closed */
    int write_fd;     /* what the child inherits; -1 in the parent once it runs */
    int file_fd;      /* rank<N>.jsonl */
    struct text line; /* the piece of a line read so far */
    struct output output;

    int64_t heard_ms;      /* CLOCK_MONOTONIC of its last event, or of its start */
    int64_t first_step_ms; /* of its first completed step; -1 before */
    bool hello, stepping;
    bool waiting;      /* it says that it waits for another rank */
    int64_t moved_ms;  /* as heard_ms, of what it last said otherwise */
    char *phase;       /* owned; NULL before the first */
    int64_t last_step; /* -1 before the first */
    json_t *hello_body, *facts, *result, *memory, *ops; /* owned; NULL until seen */
    json_t *allreduce; /* rows of the curve so far; likewise */

    bool has_error; /* an `error` event came: the first one counts */
    enum status error_status;
    char *error;
    char *error_phase;
    int64_t error_step, bytes_asked, bytes_free;
    bool predicted;
    bool blames; /* the error is that another rank is lost */

    char *garbage; /* why what it writes is refused: events that cannot be trusted, or
                      more output than is kept; NULL while it is not */
};

/* Open <folder>/rank<N>.jsonl and the pipe. On failure `r` needs no finish. */
bool rank_init(struct rank *r, int number, const char *folder, struct text *err);
void rank_finish(struct rank *r);

/*
 * Take what the pipe holds now. False only where rank<N>.jsonl cannot be written; what
 * the rank itself does wrong ends up in `garbage`.
 */
bool rank_read(struct rank *r, int64_t now_ms, struct text *err);

/*
 * Whether it has printed more than is kept, which is then in `garbage` too unless it
 * had been told to stop.
 */
bool rank_prints_too_much(struct rank *r);

/* Its process has ended and its pipe is drained: an unfinished line is torn. */
void rank_close(struct rank *r);

/* Feed bytes as if they came from the pipe: what rank_read() does after saving them. */
void rank_feed(struct rank *r, const char *bytes, size_t size, int64_t now_ms);

#endif

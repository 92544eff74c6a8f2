/*
 * Events: what a worker says while it runs, one JSON object a line, design §6. The
 * worker writes through `struct event_writer`; the supervisor reads lines back with
 * event_parse(). Both halves live here, so the format has one home.
 *
 * Contract besides the field table of design §6: hello is first, and `protocol` must be
 * 1. A `step` event is sent every `log_every` steps and whenever a second has passed
 * since the last event, so that silence means trouble. `result` is last. Reals that are
 * not finite are written as null.
 *
 * `step` counts from 1: the steps finished. Its loss and accuracy are means over all
 * ranks (absent from an event that only the second brought), `tokens` and `ms` are of
 * that one step and rank: summed over ranks, tokens ÷ ms is the live rate. Four events
 * more that readers may ignore: facts     data, tokenizer, data_digest (SHA-256),
 * data_bytes, train_tokens, val_tokens, test_tokens, tokenizer_vocab, vocab (the
 * model's), threads, batch (per rank and micro-step, resolved): rank 0's enter the
 * record's provenance under these names, whatever becomes of the attempt; also
 *             gemm_algorithms (digest of the table on a GPU), and after the first step
 *             of several ranks comm, nccl_version, nccl_path, nccl_registered,
 *             nccl_max_ctas, nccl_environment (worker/comm.h); may come in parts
 *   progress  phase, done, of: a sign of life where no step ends, as in evaluation or,
 *             once a second while ops complete, within a long step;
 *             waiting: true, once a second while this rank waits for another
 *   ops       once, before the result: what the ops of a step cost, each timed by marks
 *             of its own in `steps` instrumented steps. `ops` lists {op, what, calls,
 *             ms, bytes, flops}: one row for all ops of a kind that produce the same,
 *             `what` (a tensor, or the parameter whose gradient it is); calls, ms
 *             (the median over the steps), bytes (each operand once, read and written;
 *             no scratch) and flops (products: 2·m·n·k; attention: 4 forward and 10
 *             backward for each pair that sees each other, head and element; else 0)
 *             are of one step. `mark_ms` is the time between two marks with nothing
 *             between them; nothing has been subtracted. Rank 0's is the record's `ops`
 *   allreduce from task allreduce, as each size is done, smallest first: bytes,
 *             ms_median, ms_p10, ms_p90, bus_bytes_per_s (matrix/curve.h). To clocks it
 *             is a step. Rank 0's rows are the record's `allreduce`. The fact
 *             `sizes_left_out`, a phrase, says why sizes are missing
 * `error` has two fields more: `predicted` (true: the plan refused, nothing was tried)
 * and `collateral` (true: what failed is that another rank is lost, so whoever else
 * fails within a grace period is the cause).
 */
#ifndef MATRIX_EVENT_H
#define MATRIX_EVENT_H

#include <jansson.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "matrix/text.h"

#define EVENT_PROTOCOL 1
#define EVENT_LINE_MAX 65536 /* bytes; a longer line is garbage */

enum event_kind {
    EVENT_HELLO,
    EVENT_PHASE,
    EVENT_MEMORY,
    EVENT_STEP,
    EVENT_EVAL,
    EVENT_ERROR,
    EVENT_RESULT,
    EVENT_OTHER /* a well-formed event of a kind this reader does not know: ignored */
};

struct event {
    enum event_kind kind;
    int64_t t_ms; /* since the worker started */
    json_t *body; /* the whole object; owned */
};

/*
 * Parse one line (no newline). False, with a sentence, for anything that is not a JSON
 * object with `event` and `t_ms`, or a known event whose fields have the wrong type;
 * for hello, an unknown protocol. On success the caller owes event_finish().
 */
bool event_parse(const char *line, size_t size, struct event *out, struct text *err);
void event_finish(struct event *e);

/* Field access that answers a fallback where the field is absent or null. */
int64_t event_integer(const struct event *e, const char *field, int64_t fallback);
double event_real(const struct event *e, const char *field, double fallback);
const char *event_text(const struct event *e, const char *field, const char *fallback);

/* Writes whole lines with one write() each, so that a killed worker tears at most one.
 * Any thread may send. */
struct event_writer {
    int fd;                  /* not owned */
    int64_t start_ns;        /* CLOCK_MONOTONIC at event_writer_init() */
    _Atomic int64_t last_ns; /* of the last event sent */
    /* A line longer than a pipe takes whole must not be cut by another thread's. */
    pthread_mutex_t writing;
};

void event_writer_init(struct event_writer *w, int fd);

/*
 * Send {"event": name, "t_ms": …, fields…}. `format` and the arguments after it are
 * json_pack()'s for an object, such as "{s:s}", "name", "warmup"; a NaN or infinite
 * real must be passed through event_number(). False where the write fails.
 */
bool event_send(struct event_writer *w, const char *name, struct text *err,
        const char *format, ...);

/* As event_send(), from an object; takes the reference `fields`. */
bool event_send_object(
        struct event_writer *w, const char *name, json_t *fields, struct text *err);

/* json_real(x), or json null where x is not finite. New reference; "o" in a format. */
json_t *event_number(double x);

#endif

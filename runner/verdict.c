#include "runner/verdict.h"

#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define EXIT_USAGE 2
#define EXIT_UNSUPPORTED 77

bool verdict_rank_is_bad(const struct rank *r) {
    if (r->garbage) {
        return true;
    }
    return r->ended &&
           (r->end.signal || r->end.exit_code || r->has_error || !r->result);
}

/*
 * How surely a badly ended rank is the cause rather than a witness: a peer's death
 * makes the others fail too, sometimes before we get to see the first, but it never
 * makes them segfault or run out of memory. A device that reads a dead peer's memory
 * may well fault.
 */
static int guilt(const struct rank *r) {
    if (r->has_error && (r->error_status == STATUS_OOM_DEVICE ||
                                r->error_status == STATUS_OOM_HOST)) {
        return 6;
    }
    if (r->ended && r->end.signal && !r->killed) {
        return 5;
    }
    if (r->has_error && r->error_status == STATUS_CRASHED) {
        return 4;
    }
    if (r->garbage) {
        return 3;
    }
    if (r->has_error && r->error_status != STATUS_FAILED) {
        return 3;
    }
    if (r->blames) {
        return 0;
    }
    return r->has_error ? 1 : 2;
}

/* The guilty rank among those that ended badly before we killed anything; or NULL. */
static const struct rank *find_guilty(const struct verdict_input *in) {
    const struct rank *worst = NULL;
    for (int i = 0; i < in->count; i++) {
        const struct rank *r = &in->ranks[i];
        // A rank that we killed is guilty only of what it had declared or written.
        if (!verdict_rank_is_bad(r) || (r->killed && !r->has_error && !r->garbage)) {
            continue;
        }
        if (!worst || guilt(r) > guilt(worst) ||
                (guilt(r) == guilt(worst) && r->ended && worst->ended &&
                        r->end_order < worst->end_order)) {
            worst = r;
        }
    }
    return worst;
}

static void say(struct verdict *out, struct text *t) {
    out->error = text_take(t);
}

static const char *where(const struct rank *r) {
    return r->phase && *r->phase ? r->phase : "start";
}

static void judge_rank(const struct rank *r, bool oom_killed, struct verdict *out) {
    struct text t = {0};
    out->guilty = r->number;
    if (r->has_error) {
        out->status = r->error_status;
        text_add(
                &t, *r->error ? r->error : "the worker reported an error without text");
    } else if (r->garbage) {
        out->status = STATUS_FAILED;
        text_add(&t, r->garbage);
    } else if (r->end.signal == SIGKILL && oom_killed) {
        out->status = STATUS_OOM_HOST;
        text_addf(&t, "the kernel killed rank %d for want of memory", r->number);
    } else if (r->end.signal) {
        const char *name = sigabbrev_np(r->end.signal);
        out->status = STATUS_CRASHED;
        text_addf(&t, "rank %d was ended by signal %d (SIG%s) in phase %s", r->number,
                r->end.signal, name ? name : "?", where(r));
    } else if (r->end.exit_code == EXIT_UNSUPPORTED) {
        out->status = STATUS_UNSUPPORTED;
        text_addf(&t, "rank %d says that its device is absent (exit %d)", r->number,
                EXIT_UNSUPPORTED);
    } else if (r->end.exit_code) {
        out->status = STATUS_FAILED;
        text_addf(&t, "rank %d exited with code %d%s without saying why", r->number,
                r->end.exit_code, r->end.exit_code == EXIT_USAGE ? " (usage)" : "");
    } else {
        out->status = STATUS_FAILED;
        text_addf(&t, "rank %d exited with code 0 but without a result", r->number);
    }
    say(out, &t);
}

/* How far a silent rank is from being the one that hangs: who waits for others, or is
 * through, is further. */
static int innocence(const struct rank *r) {
    return r->waiting ? 2 : r->result != NULL;
}

bool verdict_is_likelier(const struct rank *a, const struct rank *b) {
    if (innocence(a) != innocence(b)) {
        return innocence(a) < innocence(b);
    }
    return a->last_step != b->last_step ? a->last_step < b->last_step
                                        : a->heard_ms < b->heard_ms;
}

/*
 * Whether a silent rank stands out. Ranks wait for each other: where another is as far
 * and as silent, and did not say that it waits, which of them hangs cannot be told from
 * outside, and none is named.
 */
static bool stands_out(const struct verdict_input *in) {
    const struct rank *worst = &in->ranks[in->strike_rank];
    if (worst->waiting) {
        return false;
    }
    int64_t limit_ms = in->strike == CLOCKS_START ? in->clocks->start_ms
                                                  : in->clocks->heartbeat_ms;
    for (int i = 0; i < in->count; i++) {
        const struct rank *r = &in->ranks[i];
        int64_t apart_ms = r->heard_ms - worst->heard_ms;
        if (r != worst && innocence(r) <= innocence(worst) &&
                r->last_step == worst->last_step && apart_ms < limit_ms / 2) {
            return false;
        }
    }
    return true;
}

static void judge_strike(const struct verdict_input *in, struct verdict *out) {
    struct text t = {0};
    const struct rank *r = &in->ranks[in->strike_rank];
    char who[48] = "the ranks";
    out->guilty = -1;
    if (stands_out(in)) {
        out->guilty = in->strike_rank;
        snprintf(who, sizeof who, "rank %d", in->strike_rank);
    }
    switch (in->strike) {
    case CLOCKS_TIMEOUT:
        out->status = STATUS_TIMEOUT;
        // Out of time is nobody's fault in particular.
        out->guilty = -1;
        text_addf(&t, "not done after timeout_s = %g s",
                (double)in->clocks->timeout_ms / 1000);
        break;
    case CLOCKS_START:
        out->status = STATUS_HANG;
        text_addf(&t, "%s made no step within start_s = %g s (phase %s)", who,
                (double)in->clocks->start_ms / 1000, where(r));
        break;
    default:
        out->status = STATUS_HANG;
        text_addf(&t,
                "silence of %s for heartbeat_s = %g s after step %" PRId64
                " (phase %s)",
                who, (double)in->clocks->heartbeat_ms / 1000, r->last_step, where(r));
    }
    say(out, &t);
}

/* Whether another rank, too, met a value that is not finite at the same step: then the
 * training diverged, and neither stands out. A broken rank's reaches others later. */
static bool is_shared(const struct verdict_input *in, const struct rank *guilty) {
    int alike = 0; // itself, too
    for (int i = 0; i < in->count; i++) {
        const struct rank *r = &in->ranks[i];
        alike += r->has_error && r->error_status == STATUS_INVALID &&
                 r->error_step == guilty->error_step;
    }
    return guilty->has_error && guilty->error_status == STATUS_INVALID && alike > 1;
}

void verdict_reach(const struct verdict_input *in, struct verdict *out) {
    *out = (struct verdict){.status = STATUS_OK, .guilty = -1};
    if (in->stop == VERDICT_STOP_FAILED) {
        out->status = STATUS_FAILED;
        out->error = text_copy(in->reason);
        return;
    }
    const struct rank *guilty = find_guilty(in);
    // What a rank said or did before our own hand reached it comes first: a worker that
    // reports an error and then hangs has failed, not hung.
    if (guilty) {
        judge_rank(guilty, in->oom_killed, out);
        out->guilty = is_shared(in, guilty) ? -1 : out->guilty;
        return;
    }
    bool all_done = in->count > 0;
    for (int i = 0; i < in->count; i++) {
        const struct rank *r = &in->ranks[i];
        all_done = all_done && r->ended && r->end.exit_code == 0 && r->result;
    }
    if (all_done) {
        out->error = text_copy("");
        return;
    }
    switch (in->stop) {
    case VERDICT_STOP_CLOCK:
        judge_strike(in, out);
        return;
    case VERDICT_STOP_INTERRUPTED:
        out->status = STATUS_INTERRUPTED;
        out->error = text_copy("interrupted by a signal");
        return;
    default:
        out->status = STATUS_LOST;
        out->error = text_copy("the runner died while this attempt ran");
    }
}

void verdict_finish(struct verdict *v) {
    free(v->error);
    *v = (struct verdict){0};
}

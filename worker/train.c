#include <math.h>
#include <time.h>

#include "worker/backend.h"
#include "worker/inject.h"
#include "worker/ledger.h"
#include "worker/outcome.h"
#include "worker/schedule.h"
#include "worker/train.h"
#include "worker/trainer.h"

#define DIVERGED 1.2 // a final loss above so many times the first is no result

static double now_ms(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

/* Wait for this rank's device, then for the other ranks. */
static bool synchronize(struct trainer *t) {
    struct kernel_error why = {0};
    struct text err = {0};
    if (!t->options.kernels->stream_synchronize(t->stream, &why)) {
        return attempt_fail_kernel(t->attempt, &why, &err);
    }
    return !t->comm || trainer_check(t, comm_barrier(t->comm, &err), &err);
}

/* After the last step of training come instrumented ones, which are always whole. */
static void load_step(struct trainer *t, int64_t step) {
    struct data_share share = t->share;
    share.end = step < t->steps ? share.end : INT64_MAX;
    data_training_step(t->data, &share, step, t->inputs, t->targets);
}

/* Tell about the step that just ended, where it is due. */
static bool report_step(struct trainer *t, double lr, double ms) {
    struct attempt *a = t->attempt;
    const struct engine_step *s = &t->last;
    bool due = a->step % params_integer(t->params, PARAM_LOG_EVERY) == 0;
    bool ends = a->step == 1 || a->step == t->steps;
    double mean[2] = {s->loss, s->accuracy};
    // All ranks agree on what is due by its number, and only on that.
    if (t->comm && (due || ends)) {
        struct text err = {0};
        if (!trainer_check(t, comm_sum_host(t->comm, mean, 2, &err), &err)) {
            return false;
        }
        mean[0] /= a->world;
        mean[1] /= a->world;
    }
    t->first_loss = a->step == 1 ? mean[0] : t->first_loss;
    t->final_loss = a->step == t->steps ? mean[0] : t->final_loss;
    if (!due && !ends && !attempt_is_silent(a)) {
        return true;
    }
    json_t *fields = json_pack("{s:I, s:o, s:o, s:o, s:I, s:o}", "step",
            (json_int_t)a->step, "lr", event_number(lr), "grad_norm",
            event_number(s->grad_norm), "loss_scale", event_number(s->loss_scale),
            "tokens", (json_int_t)trainer_tokens(t, a->step - 1, a->step), "ms",
            event_number(ms));
    if (due || ends) {
        json_object_set_new(fields, "loss", event_number(mean[0]));
        json_object_set_new(fields, "accuracy", event_number(mean[1]));
    }
    return attempt_send_object(a, "step", fields);
}

/* What a step has room for, over what it has, of all ranks: epochs may end within it.
 */
static double whole_over_real(const struct trainer *t, int64_t step) {
    double whole = (double)(t->step_tokens * t->options.world);
    return whole / (double)trainer_tokens_of_all(t, step, step + 1);
}

/* Send step `step` (0 …) on its way. */
static bool queue_step(struct trainer *t, int64_t step) {
    struct text err = {0};
    t->sent[step % RING_SLOTS] = (struct sent){
            .lr = schedule_rate(t->params, step, t->steps), .ms = now_ms()};
    load_step(t, step);
    lookout_announce(&t->lookout);
    engine_weigh(t->engine, whole_over_real(t, step));
    bool queued = engine_step(
            t->engine, t->inputs, t->targets, t->sent[step % RING_SLOTS].lr, &err);
    return trainer_check(t, queued, &err);
}

/* How the ranks reach each other; the first step has gone all its ways. */
static bool tell_comm(struct trainer *t) {
    if (!t->comm) {
        return true;
    }
    json_t *fields = json_object();
    comm_facts(t->comm, fields);
    comm_settle(t->comm);
    return attempt_send_object(t->attempt, "facts", fields);
}

/*
 * Wait for step `step`. Its milliseconds run from when it was begun, data loading
 * included, or from the end of the step before, whichever came later.
 */
static bool finish_step(struct trainer *t, int64_t step, double *ms) {
    struct attempt *a = t->attempt;
    const struct sent *sent = &t->sent[step % RING_SLOTS];
    struct text err = {0};
    bool done = engine_finish_step(t->engine, &t->last, &err);
    double now = now_ms();
    *ms = now - fmax(sent->ms, t->finished_ms);
    t->finished_ms = now;
    if (!trainer_check(t, done, &err)) {
        return false;
    }
    a->step = step + 1;
    if (step == 0) {
        t->startup_ms = attempt_age_ms(a);
        if (!tell_comm(t)) {
            return false;
        }
    }
    if (!isfinite(t->last.loss)) {
        return attempt_fail(a, STATUS_INVALID, "the loss of step %lld is not finite",
                (long long)a->step);
    }
    return report_step(t, sent->lr, *ms);
}

static bool evaluate(struct trainer *t, struct evaluation *out) {
    struct attempt *a = t->attempt;
    // A batch means the matrix's number here, so that one rank and several, whose share
    // of global_batch is smaller, are judged by the same tokens.
    int64_t global = params_integer(t->params, PARAM_GLOBAL_BATCH);
    int64_t windows = params_integer(t->params, PARAM_EVAL_BATCHES) *
                      (global > 0 ? global : t->options.batch);
    struct evaluate_options options = {.data = t->data,
            .engine = t->engine,
            .comm = t->comm,
            .lookout = &t->lookout,
            .batch = t->options.batch,
            .windows = windows};
    struct text err = {0};
    if (!trainer_check(t, evaluate_run(a, &options, out, &err), &err)) {
        return false;
    }
    if (out->tokens == 0) {
        return true;
    }
    if (!isfinite(out->loss)) {
        return attempt_fail(a, STATUS_INVALID, "the validation loss is not finite");
    }
    return attempt_send(a, "eval", "{s:I, s:o, s:o, s:o, s:I}", "step",
            (json_int_t)a->step, "loss", event_number(out->loss), "ppl",
            event_number(out->ppl), "accuracy", event_number(out->accuracy), "tokens",
            (json_int_t)out->tokens);
}

/*
 * Steps [from, to) back to back: on a device that works on its own, one is prepared
 * while another runs. The first step of all is awaited: what it costs is start-up.
 */
static bool run_stretch(struct trainer *t, int64_t from, int64_t to, double *each_ms) {
    int64_t ahead = backend_on_gpu() ? RING_SLOTS - 1 : 0, finished = from;
    for (int64_t step = from; finished < to; step++) {
        bool strikes = step < to && inject_is_due(t->attempt, step + 1);
        int64_t may_wait = step >= to || strikes || step <= 1 ? 0 : ahead;
        for (; finished < step - may_wait && finished < to; finished++) {
            double ms;
            if (!finish_step(t, finished, each_ms ? &each_ms[finished - from] : &ms)) {
                return false;
            }
        }
        if (step < to && ((strikes && !trainer_strike(t)) || !queue_step(t, step))) {
            return false;
        }
    }
    return true;
}

/* Steps [from, to) and the evaluations between them, whose time does not count. */
static bool run_steps(
        struct trainer *t, int64_t from, int64_t to, double *each_ms, double *all_ms) {
    int64_t every = params_integer(t->params, PARAM_EVAL_EVERY);
    *all_ms = 0;
    for (int64_t step = from; step < to;) {
        int64_t pause = every > 0 ? (step / every + 1) * every : to;
        int64_t end = pause < to ? pause : to;
        if (each_ms) {
            telemetry_resume(&t->watch);
        }
        if (!synchronize(t)) {
            return false;
        }
        double began = now_ms();
        if (!run_stretch(t, step, end, each_ms ? each_ms + (step - from) : NULL)) {
            return false;
        }
        struct kernel_error why = {0};
        struct text err = {0};
        if (!t->options.kernels->stream_synchronize(t->stream, &why)) {
            return attempt_fail_kernel(t->attempt, &why, &err);
        }
        *all_ms += now_ms() - began;
        if (each_ms) {
            telemetry_pause(&t->watch);
        }
        struct evaluation between;
        if (every > 0 && end % every == 0 && end < t->steps && !evaluate(t, &between)) {
            return false;
        }
        step = end;
    }
    return true;
}

static bool check_outcome(struct trainer *t) {
    if (!isfinite(t->final_loss) || !isfinite(t->first_loss)) {
        return attempt_fail(t->attempt, STATUS_INVALID, "the loss is not finite");
    }
    if (t->final_loss > DIVERGED * t->first_loss) {
        return attempt_fail(t->attempt, STATUS_INVALID,
                "diverged: the loss ended at %.4g, above %.1f times its first, %.4g",
                t->final_loss, DIVERGED, t->first_loss);
    }
    return true;
}

/* Where the time of a step goes. The model is not used afterwards. */
static bool instrument(struct trainer *t) {
    engine_weigh(t->engine, 1);
    for (int i = 0; i < TRAINER_INSTRUMENTED; i++) {
        struct engine_phases p;
        struct engine_step unused;
        struct text err = {0};
        int64_t step = t->steps + i;
        double began = now_ms();
        load_step(t, step);
        double data_ms = now_ms() - began;
        lookout_announce(&t->lookout);
        bool done = engine_step_instrumented(t->engine, t->inputs, t->targets,
                            schedule_rate(t->params, step, t->steps), &p, &err) &&
                    engine_finish_step(t->engine, &unused, &err);
        if (!trainer_check(t, done, &err)) {
            return false;
        }
        double phases[5] = {p.data_ms + data_ms, p.forward_ms, p.backward_ms,
                p.comm_exposed_ms, p.optimizer_ms};
        for (int k = 0; k < 5; k++) {
            t->phase_ms[k][i] = phases[k];
        }
        t->instrumented = i + 1;
        if (attempt_is_silent(t->attempt) &&
                !attempt_send(t->attempt, "progress", "{s:s, s:i, s:i}", "phase",
                        "instrument", "done", i + 1, "of", TRAINER_INSTRUMENTED)) {
            return false;
        }
    }
    return true;
}

/* The same op by op, in steps of their own: a mark costs more than a small op. */
static bool instrument_ops(struct trainer *t) {
    struct ledger ledger = {0};
    bool good = true;
    for (int i = 0; good && i < LEDGER_STEPS; i++) {
        struct engine_step unused;
        struct text err = {0};
        int64_t step = t->steps + TRAINER_INSTRUMENTED + i;
        load_step(t, step);
        lookout_announce(&t->lookout);
        good = engine_step_ops(t->engine, t->inputs, t->targets,
                       schedule_rate(t->params, step, t->steps), &ledger, &err) &&
               engine_finish_step(t->engine, &unused, &err);
        good = trainer_check(t, good, &err);
    }
    good = good && attempt_send_object(t->attempt, "ops", ledger_to_json(&ledger));
    ledger_finish(&ledger);
    return good;
}

/* Begin a phase, with the fault that is to strike there. */
static bool enter(struct trainer *t, const char *phase) {
    return trainer_enter(t, phase) &&
           (!inject_is_due_in(t->attempt, phase) || trainer_strike(t));
}

bool train_run(struct attempt *a) {
    // Not on the stack: after a failure nothing is undone, and the thread that watches
    // the device goes on writing here until the process ends.
    static struct trainer t;
    t = (struct trainer){.attempt = a,
            .params = &a->spec.params,
            .first_loss = NAN,
            .final_loss = NAN};
    double warmup_ms;
    bool done = trainer_start(&t) && trainer_enter(&t, "warmup") &&
                run_steps(&t, 0, t.warmup_steps, NULL, &warmup_ms) &&
                trainer_enter(&t, "measure") &&
                run_steps(&t, t.warmup_steps, t.steps, t.step_ms, &t.window_ms) &&
                check_outcome(&t);
    if (!done) {
        return false;
    }
    t.train_ms = warmup_ms + t.window_ms;
    t.comm_bytes = t.comm ? comm_bytes_moved(t.comm) : 0;
    if (!enter(&t, "eval") || !evaluate(&t, &t.evaluation) ||
            !enter(&t, "instrument") || !instrument(&t) || !instrument_ops(&t) ||
            !enter(&t, "end") || !outcome_send_result(&t)) {
        return false;
    }
    trainer_finish(&t);
    return true;
}

#include <math.h>
#include <stdlib.h>
#include <time.h>

#include "worker/backend.h"
#include "worker/inject.h"
#include "worker/ledger.h"
#include "worker/measure.h"
#include "worker/outcome.h"
#include "worker/schedule.h"
#include "worker/setup.h"
#include "worker/train.h"
#include "worker/trainer.h"

#define DIVERGED 1.2  // a final loss above so many times the first is no result
#define PATIENCE_S 10 // past start_s, which the supervisor watches

static double now_ms(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

/*
 * `done`, or the attempt failed with the sentence in `err`, which is emptied. Where a
 * fault has made the device useless, that is what happened, whatever failed of it.
 */
static bool check(struct trainer *t, bool done, struct text *err) {
    struct kernel_error why = {0};
    if (!done && t->stream &&
            !t->options.kernels->stream_synchronize(t->stream, &why) &&
            why.kind == KERNEL_DEVICE_FAULT) {
        attempt_fail_kernel(t->attempt, &why, err);
    }
    if (!done) {
        attempt_fail(t->attempt, STATUS_FAILED, "%s", text_get(err));
    }
    text_finish(err);
    return done;
}

/* -- start ---------------------------------------------------------------------- */

static void tell_alive(void *user) {
    attempt_live(user);
}

static bool load_data(struct trainer *t) {
    const char *root = getenv("LM_DATA");
    struct kernel_error why;
    struct text err = {0};
    if (!data_create(t->params, root ? root : "", &t->data, &why, &err)) {
        return attempt_fail_kernel(t->attempt, &why, &err);
    }
    const struct data_facts *f = data_facts(t->data);
    if (!check(t, setup_options(t->params, f->vocab, &t->options, &err), &err)) {
        return false;
    }
    t->options.rank = t->attempt->rank;
    t->options.device = backend_on_gpu() ? t->attempt->local_rank : 0;
    t->options.poison = true;
    t->options.alive = tell_alive;
    t->options.user = t->attempt;
    return attempt_send(t->attempt, "facts",
            "{s:s, s:s, s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:i, s:I}", "data",
            f->source, "tokenizer", f->tokenizer, "data_digest", f->digest,
            "data_bytes", (json_int_t)f->bytes, "train_tokens",
            (json_int_t)f->tokens[SPLIT_TRAIN], "val_tokens",
            (json_int_t)f->tokens[SPLIT_VALID], "test_tokens",
            (json_int_t)f->tokens[SPLIT_TEST], "tokenizer_vocab", (json_int_t)f->vocab,
            "vocab", (json_int_t)t->options.vocab, "threads", t->options.threads,
            "batch", (json_int_t)t->options.batch);
}

static bool count_steps(struct trainer *t) {
    t->seq_len = params_integer(t->params, PARAM_SEQ_LEN);
    t->accumulate = params_integer(t->params, PARAM_ACCUMULATE);
    t->step_tokens = t->accumulate * t->options.batch * t->seq_len;
    t->warmup_steps = params_integer(t->params, PARAM_WARMUP_STEPS);
    t->steps = params_integer(t->params, PARAM_STEPS);
    int64_t epochs = params_integer(t->params, PARAM_EPOCHS);
    if (epochs > 0) {
        int64_t samples = t->accumulate * t->options.batch * t->options.world;
        t->steps =
                (epochs * data_windows(t->data, SPLIT_TRAIN) + samples - 1) / samples;
    }
    if (t->warmup_steps >= t->steps) {
        return attempt_fail(t->attempt, STATUS_FAILED,
                "warmup_steps %lld leaves none of %lld steps to time",
                (long long)t->warmup_steps, (long long)t->steps);
    }
    return inject_check(t->attempt, t->steps);
}

/* Bytes that this rank may count on: of its device, or its share of the host's. */
static bool free_memory(struct trainer *t, int64_t *bytes) {
    const struct kernels *k = t->options.kernels;
    // No rank has allocated yet: they meet in comm_create() first. So each may count on
    // its share of what is free now.
    *bytes = measure_host_free() / t->attempt->world;
    size_t unused = 0, total;
    struct kernel_error why = {0};
    struct text err = {0};
    if (k->device_memory) {
        if (!k->device_memory(t->options.device, &unused, &total, &why)) {
            return attempt_fail_kernel(t->attempt, &why, &err);
        }
        *bytes = (int64_t)unused;
    }
    return true;
}

/* Refuse, before anything is allocated, a plan that cannot fit. */
static bool check_plan(struct trainer *t) {
    struct attempt *a = t->attempt;
    struct engine_memory memory;
    struct text err = {0};
    bool unsupported = false;
    if (!engine_plan(&t->options, &memory, &unsupported, &err)) {
        struct kernel_error why = {
                .kind = unsupported ? KERNEL_UNSUPPORTED : KERNEL_OK};
        return attempt_fail_kernel(a, &why, &err);
    }
    if (!outcome_send_memory(t, &memory)) {
        return false;
    }
    int64_t planned = 0;
    for (int o = 0; o < OWNER_COUNT; o++) {
        planned += memory.planned[o];
    }
    int64_t limit = params_integer(t->params, PARAM_MEMORY_LIMIT), free_bytes;
    if (!free_memory(t, &free_bytes)) {
        return false;
    }
    bool limited = limit > 0 && limit < free_bytes;
    if (planned <= (limited ? limit : free_bytes)) {
        return true;
    }
    a->predicted = true;
    a->bytes_asked = planned;
    a->bytes_free = limited ? limit : free_bytes;
    bool gpu = backend_on_gpu();
    return attempt_fail(a, gpu ? STATUS_OOM_DEVICE : STATUS_OOM_HOST,
            "the plan needs %lld bytes, %s %lld", (long long)planned,
            limited ? "memory_limit is"
            : gpu   ? "and the device has free"
                    : "and this rank's share of free memory is",
            (long long)a->bytes_free);
}

static bool create_stream(struct trainer *t) {
    struct stream_options options = {.device = t->options.device,
            .threads = t->options.threads,
            .tuning = getenv("LM_TUNING"),
            .math = params_integer(t->params, PARAM_PRECISION) == PRECISION_TF32
                            ? MATH_TF32
                            : MATH_F32};
    struct kernel_error why = {0};
    struct text err = {0};
    telemetry_init(&t->watch, t->options.kernels, t->options.device);
    if (!t->options.kernels->stream_create(&options, &t->stream, &why)) {
        return attempt_fail_kernel(t->attempt, &why, &err);
    }
    telemetry_stream_made(&t->watch);
    t->options.stream = t->stream;
    if (t->options.kernels->tuning_digest) {
        char digest[17];
        t->options.kernels->tuning_digest(t->stream, digest);
        return attempt_send(t->attempt, "facts", "{s:s}", "gemm_algorithms", digest);
    }
    return true;
}

/* This rank is fine: it is another that keeps it waiting. */
static void tell_waiting(void *user) {
    struct attempt *a = user;
    attempt_send(a, "progress", "{s:s, s:I, s:b}", "phase", a->phase, "done",
            (json_int_t)a->step, "waiting", 1);
}

static bool meet(struct trainer *t) {
    struct attempt *a = t->attempt;
    if (a->world == 1) {
        return true;
    }
    if (a->shm_fd < 0) {
        return attempt_fail(a, STATUS_FAILED,
                "%d ranks need the shared memory that LM_SHM_FD names", a->world);
    }
    struct text err = {0};
    struct comm_options options = {.rank = a->rank,
            .world = a->world,
            .shm_fd = a->shm_fd,
            .deadline_ms =
                    (params_integer(t->params, PARAM_START_S) + PATIENCE_S) * 1000,
            .kernels = t->options.kernels,
            .waiting = tell_waiting,
            .user = a};
    bool met = engine_comm_bytes(&t->options, &options.bytes, &err) &&
               comm_create(&options, &t->comm, &err);
    t->options.comm = t->comm;
    return check(t, met, &err);
}

static bool create_engine(struct trainer *t) {
    struct kernel_error why = {0};
    struct text err = {0};
    if (!engine_create(&t->options, &t->engine, &why, &err)) {
        return attempt_fail_kernel(t->attempt, &why, &err);
    }
    size_t elements = (size_t)t->step_tokens;
    t->inputs = text_allocate_zeroed(elements, sizeof *t->inputs);
    t->targets = text_allocate_zeroed(elements, sizeof *t->targets);
    t->step_ms = text_allocate_zeroed(
            (size_t)(t->steps - t->warmup_steps), sizeof *t->step_ms);
    return true;
}

/* A phase of the attempt, which a profiler sees as a range. */
static bool enter(struct trainer *t, const char *phase) {
    if (t->in_phase) {
        kernels_range_pop(backend_kernels());
    }
    t->in_phase = true;
    kernels_range_push(backend_kernels(), phase);
    return attempt_phase(t->attempt, phase);
}

static bool start(struct trainer *t) {
    return enter(t, "start") && load_data(t) && count_steps(t) && create_stream(t) &&
           check_plan(t) && meet(t) && create_engine(t);
}

static void finish(struct trainer *t) {
    if (t->in_phase) {
        kernels_range_pop(backend_kernels());
    }
    engine_destroy(t->engine);
    comm_destroy(t->comm);
    if (t->stream) {
        t->options.kernels->stream_destroy(t->stream);
    }
    telemetry_finish(&t->watch);
    data_destroy(t->data);
    free(t->inputs);
    free(t->targets);
    free(t->step_ms);
}

/* -- steps ---------------------------------------------------------------------- */

/* Wait for this rank's device, then for the other ranks. */
static bool synchronize(struct trainer *t) {
    struct kernel_error why = {0};
    struct text err = {0};
    if (!t->options.kernels->stream_synchronize(t->stream, &why)) {
        return attempt_fail_kernel(t->attempt, &why, &err);
    }
    return !t->comm || check(t, comm_barrier(t->comm, &err), &err);
}

static void load_step(struct trainer *t, int64_t step) {
    int64_t batch = t->options.batch, size = batch * t->seq_len;
    for (int64_t micro = 0; micro < t->accumulate; micro++) {
        int64_t first =
                ((step * t->accumulate + micro) * t->options.world + t->options.rank) *
                batch;
        data_training_batch(t->data, first, batch, t->inputs + micro * size,
                t->targets + micro * size);
    }
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
        if (!check(t, comm_sum_host(t->comm, mean, 2, &err), &err)) {
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
            "tokens", (json_int_t)t->step_tokens, "ms", event_number(ms));
    if (due || ends) {
        json_object_set_new(fields, "loss", event_number(mean[0]));
        json_object_set_new(fields, "accuracy", event_number(mean[1]));
    }
    return attempt_send_object(a, "step", fields);
}

/* What is injected at the step that comes next. */
static bool strike(struct trainer *t) {
    struct inject_device device = {t->options.kernels, t->stream, t->options.device};
    if (!inject_strike(t->attempt, &device)) {
        return false;
    }
    int64_t inject = params_integer(t->params, PARAM_INJECT);
    if (inject == INJECT_NAN) {
        engine_break(t->engine);
    }
    return true;
}

/* Send step `step` (0 …) on its way. */
static bool queue_step(struct trainer *t, int64_t step) {
    struct text err = {0};
    t->sent[step % RING_SLOTS] = (struct sent){
            .lr = schedule_rate(t->params, step, t->steps), .ms = now_ms()};
    load_step(t, step);
    bool queued = engine_step(
            t->engine, t->inputs, t->targets, t->sent[step % RING_SLOTS].lr, &err);
    return check(t, queued, &err);
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
    if (!check(t, done, &err)) {
        return false;
    }
    a->step = step + 1;
    if (step == 0) {
        t->startup_ms = attempt_age_ms(a);
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
            .batch = t->options.batch,
            .windows = windows};
    if (!evaluate_run(a, &options, out)) {
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
        if (step < to && ((strikes && !strike(t)) || !queue_step(t, step))) {
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
    for (int i = 0; i < TRAINER_INSTRUMENTED; i++) {
        struct engine_phases p;
        struct engine_step unused;
        struct text err = {0};
        int64_t step = t->steps + i;
        double began = now_ms();
        load_step(t, step);
        double data_ms = now_ms() - began;
        bool done = engine_step_instrumented(t->engine, t->inputs, t->targets,
                            schedule_rate(t->params, step, t->steps), &p, &err) &&
                    engine_finish_step(t->engine, &unused, &err);
        if (!check(t, done, &err)) {
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
        good = engine_step_ops(t->engine, t->inputs, t->targets,
                       schedule_rate(t->params, step, t->steps), &ledger, &err) &&
               engine_finish_step(t->engine, &unused, &err);
        good = check(t, good, &err);
    }
    good = good && attempt_send_object(t->attempt, "ops", ledger_to_json(&ledger));
    ledger_finish(&ledger);
    return good;
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
    bool done = start(&t) && enter(&t, "warmup") &&
                run_steps(&t, 0, t.warmup_steps, NULL, &warmup_ms) &&
                enter(&t, "measure") &&
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
    finish(&t);
    return true;
}

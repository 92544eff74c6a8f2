#include "worker/trainer.h"

#include <stdlib.h>

#include "worker/backend.h"
#include "worker/inject.h"
#include "worker/measure.h"
#include "worker/outcome.h"
#include "worker/setup.h"

bool trainer_check(struct trainer *t, bool done, struct text *err) {
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
    if (!trainer_check(
                t, setup_options(t->params, f->vocab, &t->options, &err), &err)) {
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
    t->share = (struct data_share){.accumulate = t->accumulate,
            .batch = t->options.batch,
            .rank = t->options.rank,
            .world = t->options.world,
            .end = INT64_MAX};
    int64_t epochs = params_integer(t->params, PARAM_EPOCHS);
    if (epochs > 0) {
        int64_t samples = t->accumulate * t->options.batch * t->options.world;
        t->share.end = epochs * data_windows(t->data, SPLIT_TRAIN);
        t->steps = (t->share.end + samples - 1) / samples;
    }
    if (t->warmup_steps >= t->steps) {
        return attempt_fail(t->attempt, STATUS_FAILED,
                "warmup_steps %lld leaves none of %lld steps to time",
                (long long)t->warmup_steps, (long long)t->steps);
    }
    return inject_check(t->attempt, t->steps);
}

int64_t trainer_tokens(const struct trainer *t, int64_t from, int64_t to) {
    int64_t rows = 0;
    for (int64_t step = from; step < to; step++) {
        rows += data_share_rows(&t->share, step);
    }
    return rows * t->seq_len;
}

int64_t trainer_tokens_of_all(const struct trainer *t, int64_t from, int64_t to) {
    int64_t samples = t->accumulate * t->options.batch * t->options.world;
    int64_t first = from * samples, last = to * samples, end = t->share.end;
    return ((last < end ? last : end) - (first < end ? first : end)) * t->seq_len;
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

static bool meet(struct trainer *t) {
    struct attempt *a = t->attempt;
    if (a->world == 1) {
        return true;
    }
    size_t bytes;
    enum comm_share share;
    struct text err = {0};
    if (!trainer_check(t, engine_comm_needs(&t->options, &bytes, &share, &err), &err)) {
        return false;
    }
    bool met = lookout_meet(&t->lookout, a, t->options.device, bytes, share, &t->comm);
    t->options.comm = t->comm;
    return met;
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

bool trainer_enter(struct trainer *t, const char *phase) {
    if (t->in_phase) {
        kernels_range_pop(backend_kernels());
    }
    t->in_phase = true;
    kernels_range_push(backend_kernels(), phase);
    return attempt_phase(t->attempt, phase);
}

bool trainer_strike(struct trainer *t) {
    struct inject_device device = {t->options.kernels, t->stream, t->options.device};
    if (!inject_strike(t->attempt, &device)) {
        return false;
    }
    if (params_integer(t->params, PARAM_INJECT) == INJECT_NAN) {
        engine_break(t->engine);
    }
    return true;
}

/* The fault of phase start: this rank has its device, and has met nobody yet. */
static bool stumble(struct trainer *t) {
    return !inject_is_due_in(t->attempt, "start") || trainer_strike(t);
}

bool trainer_start(struct trainer *t) {
    return trainer_enter(t, "start") && load_data(t) && count_steps(t) &&
           create_stream(t) && check_plan(t) && stumble(t) && meet(t) &&
           create_engine(t);
}

void trainer_finish(struct trainer *t) {
    if (t->in_phase) {
        kernels_range_pop(backend_kernels());
    }
    engine_destroy(t->engine);
    lookout_stop(&t->lookout);
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

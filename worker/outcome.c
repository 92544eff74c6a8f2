#include <math.h>
#include <stdio.h>

#include "worker/backend.h"
#include "worker/measure.h"
#include "worker/outcome.h"
#include "worker/statistics.h"

bool outcome_send_memory(struct trainer *t, const struct engine_memory *memory) {
    int64_t in_use = backend_on_gpu() ? telemetry_bytes(&t->watch) : measure_resident();
    for (int o = 0; o < OWNER_COUNT; o++) {
        json_t *fields = json_pack("{s:s, s:I}", "kind", memory_owner_name(o),
                "planned_bytes", (json_int_t)memory->planned[o]);
        if (memory->measured[o] >= 0) {
            json_object_set_new(
                    fields, "measured_bytes", json_integer(memory->measured[o]));
        }
        if (in_use >= 0) {
            json_object_set_new(fields, "device_bytes", json_integer(in_use));
        }
        if (!attempt_send_object(t->attempt, "memory", fields)) {
            return false;
        }
    }
    return true;
}

static void set_integer(json_t *fields, const char *name, int64_t value) {
    json_object_set_new(fields, name, json_integer(value));
}

/* What is not a finite number is unknown, and left out. */
static void set_real(json_t *fields, const char *name, double value) {
    if (isfinite(value)) {
        json_object_set_new(fields, name, json_real(value));
    }
}

static void add_time(struct trainer *t, json_t *fields) {
    int64_t timed = t->steps - t->warmup_steps;
    double tokens = (double)trainer_tokens_of_all(t, t->warmup_steps, t->steps);
    double median = statistics_quantile(t->step_ms, timed, 0.5);
    double p10 = statistics_quantile(t->step_ms, timed, 0.1);
    double p90 = statistics_quantile(t->step_ms, timed, 0.9);
    // The runner knows better: all ranks' tokens over the slowest rank's time.
    set_real(fields, "tokens_per_s", tokens / t->window_ms * 1e3);
    set_integer(fields, "window_tokens", trainer_tokens(t, t->warmup_steps, t->steps));
    set_real(fields, "window_ms", t->window_ms);
    set_integer(fields, "window_steps", timed);
    set_real(fields, "step_ms_median", median);
    set_real(fields, "step_ms_p10", p10);
    set_real(fields, "step_ms_p90", p90);
    set_real(fields, "step_noise", (p90 - p10) / median);
    static const char *const phases[] = {
            "data_ms", "forward_ms", "backward_ms", "comm_exposed_ms", "optimizer_ms"};
    for (int p = 0; p < 5; p++) {
        set_real(fields, phases[p],
                statistics_quantile(t->phase_ms[p], t->instrumented, 0.5));
    }
    set_real(fields, "startup_ms", t->startup_ms);
    set_real(fields, "train_s", t->train_ms / 1e3);
    double epoch_tokens = (double)data_facts(t->data)->tokens[SPLIT_TRAIN];
    set_real(fields, "s_per_epoch", epoch_tokens / tokens * t->window_ms / 1e3);
    set_integer(fields, "tokens_trained", trainer_tokens(t, 0, t->steps));
}

static void add_memory(
        struct trainer *t, const struct engine_memory *memory, json_t *fields) {
    int64_t planned = 0;
    for (int o = 0; o < OWNER_COUNT; o++) {
        int64_t bytes =
                memory->measured[o] >= 0 ? memory->measured[o] : memory->planned[o];
        char name[64];
        snprintf(name, sizeof name, "%s_bytes", memory_owner_name(o));
        set_integer(fields, name, bytes);
        planned += memory->planned[o];
    }
    set_integer(fields, "planned_bytes", planned);
    // Arenas are allocated whole; a mark that lies lower was room for a library.
    set_integer(fields, "peak_bytes", planned);
    set_integer(fields, "forward_bytes", memory->forward_bytes);
    set_integer(fields, "backward_bytes", memory->backward_bytes);
    int64_t witness = measure_resident_peak();
    if (backend_on_gpu()) {
        telemetry_add_memory(
                &t->watch, planned, t->comm ? comm_device_bytes(t->comm) : -1, fields);
    } else if (witness >= 0) {
        set_integer(fields, "witness_bytes", witness);
    }
    if (t->comm) {
        set_integer(fields, "comm_bytes", t->comm_bytes);
    }
}

/* A mark above the plan is a write past an arena's end: no figure can be trusted. */
static bool check_marks(struct trainer *t, const struct engine_memory *memory) {
    for (int o = 0; o < OWNER_COUNT; o++) {
        if (memory->measured[o] > memory->planned[o]) {
            return attempt_fail(t->attempt, STATUS_INVALID,
                    "%s used %lld bytes where %lld were planned", memory_owner_name(o),
                    (long long)memory->measured[o], (long long)memory->planned[o]);
        }
    }
    return true;
}

bool outcome_send_result(struct trainer *t) {
    struct engine_memory memory;
    struct text err = {0};
    if (!trainer_check(t, engine_memory(t->engine, &memory, &err), &err)) {
        return false;
    }
    if (!outcome_send_memory(t, &memory) || !check_marks(t, &memory)) {
        return false;
    }
    json_t *fields = json_object();
    add_time(t, fields);
    set_integer(fields, "params", engine_parameters(t->engine)->trained);
    add_memory(t, &memory, fields);
    set_real(fields, "first_loss", t->first_loss);
    set_real(fields, "final_loss", t->final_loss);
    if (t->evaluation.tokens > 0) {
        set_real(fields, "val_loss", t->evaluation.loss);
        set_real(fields, "val_ppl", t->evaluation.ppl);
        set_real(fields, "val_accuracy", t->evaluation.accuracy);
        set_integer(fields, "val_tokens", t->evaluation.tokens);
    }
    set_real(fields, "flops_per_token", engine_flops_per_token(t->engine, false));
    set_real(fields, "hfu_flops_per_token", engine_flops_per_token(t->engine, true));
    double timed_tokens = (double)trainer_tokens(t, t->warmup_steps, t->steps);
    telemetry_add_window(&t->watch, timed_tokens, t->window_ms, fields);
    set_real(fields, "loss_scale", t->last.loss_scale);
    set_integer(fields, "skipped_steps", t->last.skipped);
    return attempt_send_object(t->attempt, "result", fields);
}

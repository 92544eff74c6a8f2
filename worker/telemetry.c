#include "worker/telemetry.h"

#include <math.h>

#include "worker/thread.h"

enum { ENDS, BETWEEN };

static const struct {
    enum telemetry_reason bits;
    const char *words;
} reasons[] = {
        {REASON_SETTING, "application clocks"},
        {REASON_POWER_CAP, "power cap"},
        {REASON_HW_SLOWDOWN, "hardware slowdown"},
        {REASON_SYNC_BOOST, "sync boost"},
        {REASON_SW_THERMAL, "software thermal slowdown"},
        {REASON_HW_THERMAL, "hardware thermal slowdown"},
        {REASON_POWER_BRAKE, "power brake"},
        {REASON_DISPLAY, "display clocks"},
};

static bool ask(const struct telemetry_watch *w, struct telemetry *out) {
    return w->kernels && w->kernels->telemetry && w->kernels->telemetry(w->device, out);
}

/* -- memory --------------------------------------------------------------------- */

int64_t telemetry_bytes(const struct telemetry_watch *w) {
    struct telemetry now;
    bool told = ask(w, &now);
    if (told && now.own_bytes >= 0) {
        return now.own_bytes;
    }
    if (told && now.used_bytes >= 0 && w->before_bytes >= 0) {
        return now.used_bytes - w->before_bytes;
    }
    size_t unused, total;
    struct kernel_error ignored;
    // The whole device's: with nobody else on it, ours.
    return w->kernels && w->kernels->device_memory &&
                           w->kernels->device_memory(
                                   w->device, &unused, &total, &ignored)
                   ? (int64_t)(total - unused)
                   : -1;
}

void telemetry_init(
        struct telemetry_watch *w, const struct kernels *kernels, int device) {
    *w = (struct telemetry_watch){.kernels = kernels,
            .device = device,
            .interval_ms = TELEMETRY_INTERVAL_MS,
            .before_bytes = -1,
            .context_bytes = -1,
            .handles_bytes = -1,
            .sm_clock_max_mhz = -1,
            .temperature_c = -1,
            .reasons = -1,
            .foreign_processes = -1,
            .energy_known = true};
    pthread_mutex_init(&w->lock, NULL);
    struct telemetry before;
    size_t unused, total;
    struct kernel_error ignored; // stream_create() will meet it again
    if (ask(w, &before)) {
        w->before_bytes = before.used_bytes;
        if (kernels->device_memory &&
                kernels->device_memory(device, &unused, &total, &ignored)) {
            w->context_bytes = telemetry_bytes(w);
        }
    }
}

void telemetry_stream_made(struct telemetry_watch *w) {
    w->handles_bytes = w->context_bytes >= 0 ? telemetry_bytes(w) : -1;
}

/* -- the window ----------------------------------------------------------------- */

static void add_mean(struct telemetry_mean *mean, double value) {
    if (value >= 0) {
        mean->sum += value;
        mean->count++;
    }
}

/* Take one sample; its energy, −1 unknown. */
static int64_t sample(struct telemetry_watch *w, int when) {
    struct telemetry now;
    if (!ask(w, &now)) {
        return -1;
    }
    pthread_mutex_lock(&w->lock);
    add_mean(&w->sm_clock[when], now.sm_clock_mhz);
    add_mean(&w->memory_clock[when], now.memory_clock_mhz);
    w->sm_clock_max_mhz = fmax(w->sm_clock_max_mhz, now.sm_clock_max_mhz);
    w->temperature_c = fmax(w->temperature_c, now.temperature_c);
    if (now.reasons >= 0) {
        w->reasons = (w->reasons < 0 ? 0 : w->reasons) | now.reasons;
    }
    if (now.foreign_processes > w->foreign_processes) {
        w->foreign_processes = now.foreign_processes;
    }
    pthread_mutex_unlock(&w->lock);
    return now.energy_mj;
}

static bool look(void *user) {
    sample(user, BETWEEN);
    return true;
}

void telemetry_resume(struct telemetry_watch *w) {
    if (!w->kernels || !w->kernels->telemetry) {
        return;
    }
    w->began_mj = sample(w, ENDS);
    w->ticker = (struct ticker){.period_ms = w->interval_ms,
            .stack_bytes = THREAD_STACK_DRIVER_BYTES,
            .look = look,
            .user = w};
    struct kernel_error ignored; // without the thread the ends have to do
    (void)ticker_start(&w->ticker, "telemetry", &ignored);
}

void telemetry_pause(struct telemetry_watch *w) {
    if (!w->kernels || !w->kernels->telemetry) {
        return;
    }
    ticker_stop(&w->ticker);
    int64_t ended_mj = sample(w, ENDS);
    w->energy_known = w->energy_known && w->began_mj >= 0 && ended_mj >= w->began_mj;
    w->energy_j += (double)(ended_mj - w->began_mj) / 1e3;
}

void telemetry_finish(struct telemetry_watch *w) {
    if (w->kernels) {
        ticker_stop(&w->ticker);
        pthread_mutex_destroy(&w->lock);
    }
    *w = (struct telemetry_watch){0};
}

/* -- the result ----------------------------------------------------------------- */

void telemetry_show_reasons(int64_t bits, struct text *out) {
    bool none = true;
    for (size_t i = 0; i < sizeof reasons / sizeof *reasons; i++) {
        if (bits & (int64_t)reasons[i].bits) {
            text_addf(out, "%s%s", none ? "" : ", ", reasons[i].words);
            none = false;
        }
    }
    text_add(out, none ? "none" : "");
}

static void set_bytes(json_t *fields, const char *name, int64_t bytes) {
    if (bytes >= 0) {
        json_object_set_new(fields, name, json_integer(bytes));
    }
}

static void set_number(json_t *fields, const char *name, double value) {
    if (value >= 0) {
        json_object_set_new(fields, name, json_real(value));
    }
}

/* Under load where a sample fell into the window, else as its ends found it. */
static void set_mean(
        json_t *fields, const char *name, const struct telemetry_mean means[2]) {
    const struct telemetry_mean *m = means[BETWEEN].count ? &means[BETWEEN] : means;
    if (m->count) {
        set_number(fields, name, m->sum / (double)m->count);
    }
}

void telemetry_add_window(
        const struct telemetry_watch *w, double tokens, double ms, json_t *fields) {
    if (!w->kernels || !w->kernels->telemetry) {
        return;
    }
    set_mean(fields, "sm_clock_mhz", w->sm_clock);
    set_mean(fields, "memory_clock_mhz", w->memory_clock);
    set_number(fields, "sm_clock_max_mhz", w->sm_clock_max_mhz);
    set_number(fields, "temperature_c", w->temperature_c);
    set_bytes(fields, "foreign_processes", w->foreign_processes);
    if (w->energy_known && ms >= TELEMETRY_LEAST_MS && tokens > 0) {
        set_number(fields, "joules_per_token", w->energy_j / tokens);
    }
    if (w->reasons >= 0) {
        struct text words = {0};
        telemetry_show_reasons(w->reasons, &words);
        json_object_set_new(fields, "throttle_reasons", json_string(text_get(&words)));
        text_finish(&words);
    }
}

void telemetry_add_memory(const struct telemetry_watch *w, int64_t planned,
        int64_t nccl, json_t *fields) {
    int64_t now = telemetry_bytes(w);
    set_bytes(fields, "witness_bytes", now);
    set_bytes(fields, "context_bytes", w->context_bytes);
    if (w->handles_bytes < 0) {
        return;
    }
    set_bytes(fields, "handles_bytes", w->handles_bytes - w->context_bytes);
    set_bytes(fields, "nccl_bytes", nccl);
    if (now >= 0) {
        int64_t others = nccl >= 0 ? nccl : 0;
        set_bytes(fields, "rest_bytes", now - w->handles_bytes - planned - others);
    }
}

/*
 * Each size in turn: a sum of known numbers is checked on every rank, then zeros are
 * added up again and again. A repetition begins when a sum of a few elements has ended,
 * which brings the ranks together to within what one message takes, wherever their
 * hosts are; it is timed by marks on the rank's stream, and counts as long as it took
 * the slowest rank. A GPU is kept busy until a lot of repetitions is queued, so that
 * launching them is not what is timed.
 */
#include "worker/allreduce.h"

#include <math.h>
#include <stdlib.h>

#include "matrix/curve.h"
#include "worker/backend.h"
#include "worker/comm.h"
#include "worker/inject.h"
#include "worker/lookout.h"
#include "worker/measure.h"
#include "worker/pattern.h"
#include "worker/statistics.h"

enum {
    SHARE = 4, // an array takes at most this part of the memory there is
    FEW = 64,  // elements that bring the ranks together
    LOT = 8,   // repetitions queued before the first of them is awaited
    STAGING_BYTES = 1 << 22
};

struct probe {
    struct attempt *attempt;
    const struct kernels *kernels;
    int device;
    struct stream *stream;
    struct comm *comm;
    struct lookout lookout; // over the other ranks
    enum dtype type;
    int64_t most_bytes; // the largest size that every rank has room for
    void *array, *staging;
    struct device_event *from[LOT], *to[LOT];
    double best_bus, latency_ms, startup_ms;
};

/* -- refusals ------------------------------------------------------------------------
 */

static enum dtype element_type(const struct params *params) {
    int64_t precision = params_integer(params, PARAM_PRECISION);
    return precision == PRECISION_BF16   ? DTYPE_BF16
           : precision == PRECISION_FP16 ? DTYPE_F16
                                         : DTYPE_F32;
}

bool allreduce_check(const struct params *params, struct text *err) {
    int64_t ranks = params_integer(params, PARAM_RANKS);
    if (ranks < 2 || ranks > COMM_WORLD_MAX) {
        return text_fail(err, "task allreduce goes with 2 to %d ranks, not %lld",
                COMM_WORLD_MAX, (long long)ranks);
    }
    if (params_integer(params, PARAM_PRECISION) == PRECISION_TF32) {
        return text_fail(err, "precision tf32 is one of products: sums of its elements "
                              "are those of fp32");
    }
    return true;
}

/* The largest size of those that an array may take of so much memory; 0: none. */
static int64_t largest_size(double room) {
    int64_t largest = 0;
    for (int64_t bytes = CURVE_LEAST_BYTES;
            bytes <= CURVE_MOST_BYTES && (double)bytes <= room / SHARE;
            bytes *= CURVE_FACTOR) {
        largest = bytes;
    }
    return largest;
}

int64_t allreduce_planned_bytes(const struct params *params) {
    int64_t limit = params_integer(params, PARAM_MEMORY_LIMIT);
    int64_t largest = limit > 0 ? largest_size((double)limit) : CURVE_MOST_BYTES;
    return largest ? largest : CURVE_LEAST_BYTES;
}

/* `done`, or the attempt failed with the sentence in `err`, which is emptied. */
static bool check(struct probe *p, bool done, struct text *err) {
    struct kernel_error why = {0};
    if (!done && !p->kernels->stream_synchronize(p->stream, &why) &&
            why.kind == KERNEL_DEVICE_FAULT) {
        attempt_fail_kernel(p->attempt, &why, err);
    }
    if (!done) {
        attempt_fail(p->attempt, STATUS_FAILED, "%s", text_get(err));
    }
    text_finish(err);
    return done;
}

/* The same from what a kernel reports. */
static bool check_kernel(struct probe *p, bool done, const struct kernel_error *why) {
    struct text err = {0};
    return done || attempt_fail_kernel(p->attempt, why, &err);
}

/* -- making ready --------------------------------------------------------------------
 */

static bool create_stream(struct probe *p) {
    struct stream_options options = {.device = p->device, .threads = 1};
    struct kernel_error why = {0};
    bool done = p->kernels->stream_create(&options, &p->stream, &why);
    for (int i = 0; done && i < LOT; i++) {
        done = p->kernels->event_create(p->stream, &p->from[i], &why) &&
               p->kernels->event_create(p->stream, &p->to[i], &why);
    }
    return check_kernel(p, done, &why);
}

static bool strike(struct probe *p) {
    struct inject_device device = {p->kernels, p->stream, p->device};
    return inject_strike(p->attempt, &device);
}

/* Begin a phase, and suffer what is injected there. */
static bool enter(struct probe *p, const char *phase) {
    return attempt_phase(p->attempt, phase) &&
           (!inject_is_due_in(p->attempt, phase) || strike(p));
}

static bool meet(struct probe *p) {
    return lookout_meet(&p->lookout, p->attempt, p->device, CURVE_MOST_BYTES,
            COMM_SHARE_ALL, &p->comm);
}

/* Bytes that this rank may use. Nobody has allocated an array yet. */
static bool find_room(struct probe *p, double *bytes) {
    struct attempt *a = p->attempt;
    *bytes = (double)measure_host_free() / a->world;
    if (p->kernels->device_memory) {
        size_t unused, total;
        struct kernel_error why = {0};
        if (!p->kernels->device_memory(p->device, &unused, &total, &why)) {
            return check_kernel(p, false, &why);
        }
        *bytes = (double)unused;
    }
    double limit = (double)params_integer(&a->spec.params, PARAM_MEMORY_LIMIT);
    *bytes = limit > 0 && limit < *bytes ? limit : *bytes;
    return true;
}

/* The least room of any rank: all must go through the same sizes. */
static bool agree(struct probe *p, double *bytes) {
    double rooms[COMM_WORLD_MAX] = {0};
    int world = p->attempt->world;
    struct text err = {0};
    rooms[p->attempt->rank] = *bytes;
    if (!check(p, comm_sum_host(p->comm, rooms, world, &err), &err)) {
        return false;
    }
    for (int r = 0; r < world; r++) {
        *bytes = rooms[r] < *bytes ? rooms[r] : *bytes;
    }
    return true;
}

static bool choose_sizes(struct probe *p) {
    struct attempt *a = p->attempt;
    double room;
    if (!find_room(p, &room) || !agree(p, &room)) {
        return false;
    }
    p->most_bytes = largest_size(room);
    room /= SHARE;
    if (!p->most_bytes) {
        a->predicted = true;
        a->bytes_asked = CURVE_LEAST_BYTES;
        a->bytes_free = (int64_t)room;
        return attempt_fail(a, backend_on_gpu() ? STATUS_OOM_DEVICE : STATUS_OOM_HOST,
                "an array may take a quarter of the memory that a rank may use, %.0f "
                "bytes here, and the smallest takes %lld",
                room, (long long)CURVE_LEAST_BYTES);
    }
    if (p->most_bytes < CURVE_MOST_BYTES) {
        struct text why = {0};
        text_addf(&why,
                "an array may take a quarter of the memory that a rank may use, %.0f "
                "bytes here",
                room);
        bool sent = attempt_send(a, "facts", "{s:s}", "sizes_left_out", text_get(&why));
        text_finish(&why);
        if (!sent) {
            return false;
        }
    }
    int64_t when = params_integer(&a->spec.params, PARAM_INJECT_PHASE);
    if (when == INJECT_PHASE_INSTRUMENT || when == INJECT_PHASE_EVAL) {
        return attempt_fail(a, STATUS_FAILED,
                "inject_phase %s: task allreduce has no such phase",
                params_choice(&a->spec.params, PARAM_INJECT_PHASE));
    }
    int sizes = 1;
    for (int64_t bytes = CURVE_LEAST_BYTES; bytes < p->most_bytes; sizes++) {
        bytes *= CURVE_FACTOR;
    }
    return inject_check(a, sizes);
}

static bool allocate(struct probe *p) {
    struct kernel_error why = {0};
    bool done = p->kernels->allocate(
            p->device, MEMORY_PINNED, STAGING_BYTES, &p->staging, &why);
    p->array = done ? comm_allocate(p->comm, (size_t)p->most_bytes, &why) : NULL;
    return check_kernel(p, p->array != NULL, &why);
}

/* -- one size ------------------------------------------------------------------------
 */

static bool synchronize(struct probe *p) {
    struct kernel_error why = {0};
    return check_kernel(p, p->kernels->stream_synchronize(p->stream, &why), &why);
}

/* Queue a sum over elements [0, count), and the stream's wait for it. On a CPU it is
 * over then, which is worth a sign of life: a lot of large ones takes long. */
static bool add_up(struct probe *p, int64_t count) {
    struct tensor t = {.data = p->array, .type = p->type, .rank = 1, .size = {count}};
    struct text err = {0};
    bool done = comm_all_reduce(p->comm, p->stream, &t, 0, count, &err) &&
                comm_wait(p->comm, p->stream, 0, &err);
    attempt_live(p->attempt);
    return check(p, done, &err);
}

/* Copy a piece of the array to or from the staging memory, which holds it then. */
static bool copy(struct probe *p, enum copy_kind kind, size_t offset, size_t bytes) {
    unsigned char *there = (unsigned char *)p->array + offset;
    bool out = kind == COPY_TO_DEVICE;
    struct kernel_error why = {0};
    bool done = p->kernels->copy(p->stream, kind, out ? there : p->staging,
            out ? p->staging : there, bytes, &why);
    attempt_live(p->attempt);
    return check_kernel(p, done, &why) && synchronize(p);
}

/* How the ranks reach each other: the largest array shows the way that counts. */
static bool tell_comm(struct probe *p) {
    int64_t count = p->most_bytes / (int64_t)dtype_size(p->type);
    if (!add_up(p, count) || !synchronize(p)) {
        return false;
    }
    json_t *fields = json_object();
    comm_facts(p->comm, fields);
    comm_settle(p->comm);
    return attempt_send_object(p->attempt, "facts", fields);
}

static bool fill(struct probe *p, int64_t count, bool broken) {
    int64_t size = (int64_t)dtype_size(p->type), piece = STAGING_BYTES / size;
    for (int64_t first = 0; first < count; first += piece) {
        int64_t n = count - first < piece ? count - first : piece;
        pattern_fill(p->staging, p->type, p->attempt->rank, first, n);
        if (broken && first == 0) {
            pattern_break(p->staging, p->type, 0);
        }
        if (!copy(p, COPY_TO_DEVICE, (size_t)(first * size), (size_t)(n * size))) {
            return false;
        }
    }
    return true;
}

static bool check_sum(struct probe *p, int64_t count) {
    int64_t size = (int64_t)dtype_size(p->type), piece = STAGING_BYTES / size;
    int world = p->attempt->world;
    for (int64_t first = 0; first < count; first += piece) {
        int64_t n = count - first < piece ? count - first : piece;
        if (!copy(p, COPY_TO_HOST, (size_t)(first * size), (size_t)(n * size))) {
            return false;
        }
        double found;
        int64_t wrong =
                pattern_find_wrong(p->staging, p->type, world, first, n, &found);
        if (wrong >= 0) {
            return attempt_fail(p->attempt, STATUS_INVALID,
                    "of an all-reduce of %lld bytes element %lld is %g, not the sum %g",
                    (long long)(count * size), (long long)wrong, found,
                    pattern_sum(world, wrong));
        }
    }
    return true;
}

/* As many times on every rank: the more, the sooner each is over. */
static int repetitions(int64_t bytes) {
    bool gpu = backend_on_gpu();
    int64_t budget = (gpu ? INT64_C(32) : INT64_C(2)) << 30;
    int64_t least = gpu ? 20 : 5, most = gpu ? 200 : 100, n = budget / bytes;
    return (int)(n < least ? least : n > most ? most : n);
}

static bool queue_timed(struct probe *p, int64_t count, int slot) {
    struct kernel_error why = {0};
    if (!add_up(p, FEW)) {
        return false;
    }
    bool marked = p->kernels->event_record(p->stream, p->from[slot], &why);
    if (!check_kernel(p, marked, &why) || !add_up(p, count)) {
        return false;
    }
    marked = p->kernels->event_record(p->stream, p->to[slot], &why);
    return check_kernel(p, marked, &why);
}

static bool finish_timed(struct probe *p, int slot, double *ms) {
    const struct kernels *k = p->kernels;
    struct kernel_error why = {0};
    bool done = k->event_synchronize(p->to[slot], &why) &&
                k->event_elapsed_ms(p->from[slot], p->to[slot], ms, &why);
    attempt_live(p->attempt);
    return check_kernel(p, done, &why);
}

/* Something for a device to do while the host queues a lot: else small sizes would be
 * timed by how fast they are launched. */
static bool keep_busy(struct probe *p) {
    const struct kernels *k = p->kernels;
    struct kernel_error why = {0};
    bool done = !backend_on_gpu() ||
                k->fill(p->stream, p->array, 0, (size_t)p->most_bytes, &why);
    return check_kernel(p, done, &why);
}

/* `n` repetitions, after some that nobody looks at. */
static bool repeat(struct probe *p, int64_t count, int n, double *ms) {
    for (int i = backend_on_gpu() ? -5 : -2; i < n; i += LOT) {
        int lot = n - i < LOT ? n - i : LOT;
        bool good = keep_busy(p);
        for (int slot = 0; good && slot < lot; slot++) {
            good = queue_timed(p, count, slot);
        }
        for (int slot = 0; good && slot < lot; slot++) {
            double unused;
            good = finish_timed(p, slot, i + slot < 0 ? &unused : &ms[i + slot]);
        }
        if (!good) {
            return false;
        }
    }
    return true;
}

/* Each of `n` repetitions' time on the slowest rank, in place of this rank's. */
static bool take_slowest(struct probe *p, int n, double *ms) {
    int world = p->attempt->world;
    double *all = text_allocate_zeroed((size_t)(n * world), sizeof *all);
    struct text err = {0};
    for (int i = 0; i < n; i++) {
        all[p->attempt->rank * n + i] = ms[i];
    }
    bool done = check(p, comm_sum_host(p->comm, all, n * world, &err), &err);
    for (int i = 0; done && i < n; i++) {
        for (int r = 0; r < world; r++) {
            ms[i] = fmax(ms[i], all[r * n + i]);
        }
    }
    free(all);
    return done;
}

/* Time a size and tell. */
static bool time_size(struct probe *p, int64_t bytes) {
    int64_t count = bytes / (int64_t)dtype_size(p->type);
    int n = repetitions(bytes);
    struct kernel_error why = {0};
    bool zeroed = p->kernels->fill(p->stream, p->array, 0, (size_t)bytes, &why);
    double *ms = text_allocate_zeroed((size_t)n, sizeof *ms);
    bool timed = check_kernel(p, zeroed, &why) && repeat(p, count, n, ms) &&
                 take_slowest(p, n, ms);
    struct curve_row row = {.bytes = bytes,
            .ms_median = statistics_quantile(ms, n, 0.5),
            .ms_p10 = statistics_quantile(ms, n, 0.1),
            .ms_p90 = statistics_quantile(ms, n, 0.9)};
    free(ms);
    if (!timed) {
        return false;
    }
    row.bus_bytes_per_s =
            curve_bus_bytes_per_s(bytes, row.ms_median, p->attempt->world);
    p->best_bus = fmax(p->best_bus, row.bus_bytes_per_s);
    p->latency_ms = bytes == CURVE_LEAST_BYTES ? row.ms_median : p->latency_ms;
    return attempt_send_object(p->attempt, "allreduce", curve_row_to_json(&row));
}

/* What is injected at this size; `broken` where a number is to be none. */
static bool strike_at_size(struct probe *p, bool *broken) {
    struct attempt *a = p->attempt;
    bool due = inject_is_due(a, a->step + 1);
    *broken = due && params_integer(&a->spec.params, PARAM_INJECT) == INJECT_NAN;
    return !due || strike(p);
}

static bool measure(struct probe *p) {
    struct attempt *a = p->attempt;
    for (int64_t bytes = CURVE_LEAST_BYTES; bytes <= p->most_bytes;
            bytes *= CURVE_FACTOR) {
        int64_t count = bytes / (int64_t)dtype_size(p->type);
        bool broken;
        if (!strike_at_size(p, &broken)) {
            return false;
        }
        comm_announce(p->comm, a->step);
        if (!fill(p, count, broken) || !add_up(p, count) || !synchronize(p)) {
            return false;
        }
        p->startup_ms = a->step ? p->startup_ms : attempt_age_ms(a);
        if (!check_sum(p, count) || !time_size(p, bytes)) {
            return false;
        }
        a->step++;
    }
    return true;
}

/* -- the whole -----------------------------------------------------------------------
 */

static bool send_result(struct probe *p) {
    json_t *fields = json_pack("{s:f, s:f, s:f, s:I}", "allreduce_bus_bytes_per_s",
            p->best_bus, "allreduce_latency_ms", p->latency_ms, "startup_ms",
            p->startup_ms, "planned_bytes", (json_int_t)p->most_bytes);
    int64_t taken = comm_device_bytes(p->comm);
    if (taken >= 0) {
        json_object_set_new(fields, "nccl_bytes", json_integer(taken));
    }
    return attempt_send_object(p->attempt, "result", fields);
}

static void finish(struct probe *p) {
    for (int i = 0; i < LOT; i++) {
        p->kernels->event_destroy(p->from[i]);
        p->kernels->event_destroy(p->to[i]);
    }
    p->kernels->release(p->device, MEMORY_PINNED, p->staging, STAGING_BYTES);
    lookout_stop(&p->lookout);
    comm_destroy(p->comm);
    p->kernels->stream_destroy(p->stream);
}

bool allreduce_run(struct attempt *a) {
    // Not on the stack: after a failure nothing is undone, and the lookout's thread
    // goes on reading here until the process ends.
    static struct probe p;
    p = (struct probe){.attempt = a,
            .kernels = backend_kernels(),
            .device = backend_on_gpu() ? a->local_rank : 0,
            .type = element_type(&a->spec.params)};
    bool done = create_stream(&p) && enter(&p, "start") && meet(&p) &&
                choose_sizes(&p) && allocate(&p) && tell_comm(&p) &&
                enter(&p, "measure") && measure(&p) && enter(&p, "end") &&
                send_result(&p);
    if (done) {
        finish(&p);
    }
    return done;
}

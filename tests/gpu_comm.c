/*
 * Ranks on GPUs, as processes, one each: what NCCL adds up, hands round and leaves
 * alone, eagerly and in graphs, against sums made on the host.
 */
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "tests/helpers/numbers.h"
#include "worker/comm.h"
#include "worker/comm_nccl.h"

enum {
    NO_GPU = 77,
    WORLD_MAX = 8,
    DEADLINE_MS = 60000,
    FIRST = 16,       // elements before the range that takes part
    MOST = 1 << 20,   // elements of the largest arrays
    ARENA = MOST * 8, // bytes of each of two pieces
    LATER = 300,      // more operations than a communicator keeps marks of
    SPARE = MOST * 8
};

/* One rank's things. `spare` is of the device, but not the communicator's. */
struct rank {
    int rank, world;
    const struct kernels *kernels;
    struct stream *stream;
    struct comm *comm;
    void *arena[2], *spare;
    unsigned char *host, *back, *expected;
};

static const char *complaint; // of this process

static bool complain(const char *what) {
    if (!complaint) {
        complaint = what;
    }
    return false;
}

static bool done(bool good, struct text *err) {
    if (!good) {
        complain(text_get(err));
    }
    return good;
}

static bool did(bool good, const struct kernel_error *why) {
    static char sentence[256];
    if (!good) {
        snprintf(sentence, sizeof sentence, "%s", why->sentence);
        complain(sentence);
    }
    return good;
}

/* -- numbers that every type holds, and whose sums it holds ---------------------------
 */

static int number(int rank, int round, int64_t i) {
    return (int)((i * 3 + rank * 7 + round * 5) % 17) - 8;
}

static void fill(void *data, enum dtype type, int64_t count, int rank, int round) {
    for (int64_t i = 0; i < count; i++) {
        numbers_put(data, type, i, number(rank, round, i));
    }
}

static int sum(int world, int round, int64_t i) {
    int total = 0;
    for (int r = 0; r < world; r++) {
        total += number(r, round, i);
    }
    return total;
}

/* -- bytes to and from the device
 * ------------------------------------------------------
 */

static bool copy(
        struct rank *r, enum copy_kind kind, void *to, const void *from, size_t bytes) {
    struct kernel_error why = {0};
    return did(r->kernels->copy(r->stream, kind, to, from, bytes, &why), &why);
}

static bool synchronize(struct rank *r) {
    struct kernel_error why = {0};
    return did(r->kernels->stream_synchronize(r->stream, &why), &why);
}

static bool upload(struct rank *r, void *to, const void *from, size_t bytes) {
    return copy(r, COPY_TO_DEVICE, to, from, bytes) && synchronize(r);
}

/* Whether `bytes` on the device are what `expected` holds. */
static bool holds(struct rank *r, const void *data, size_t bytes, const char *else_) {
    const unsigned char *got = r->back, *want = r->expected;
    if (!copy(r, COPY_TO_HOST, r->back, data, bytes) || !synchronize(r)) {
        return false;
    }
    for (size_t i = 0; i < bytes; i++) {
        if (got[i] != want[i]) {
            static char sentence[160];
            snprintf(sentence, sizeof sentence, "%s: byte %zu of %zu is %02x, not %02x",
                    else_, i, bytes, got[i], want[i]);
            return complain(sentence);
        }
    }
    return true;
}

static struct tensor array(void *data, enum dtype type, int64_t count) {
    return (struct tensor){data, type, 1, {count}};
}

/* -- what ranks do --------------------------------------------------------------------
 */

static const enum dtype summed[] = {DTYPE_F32, DTYPE_BF16, DTYPE_F16, DTYPE_F64};
static const enum dtype carried[] = {
        DTYPE_F32, DTYPE_BF16, DTYPE_F16, DTYPE_F64, DTYPE_I32, DTYPE_U8};
static const int64_t shards[] = {0, 16, 48, 1008, 65552};

static const char *name_case(enum dtype type, int64_t count) {
    static char sentence[80];
    snprintf(sentence, sizeof sentence, "a wrong sum of %lld elements of %s",
            (long long)count, dtype_name(type));
    return sentence;
}

static bool add_up(struct rank *r, enum dtype type, int64_t count, int round) {
    size_t size = dtype_size(type);
    int64_t all = FIRST + count + 1;
    struct tensor t = array(r->arena[0], type, all);
    struct text err = {0};
    fill(r->host, type, all, r->rank, round);
    memcpy(r->expected, r->host, (size_t)all * size);
    for (int64_t i = FIRST; i < FIRST + count; i++) {
        numbers_put(r->expected, type, i, sum(r->world, round, i));
    }
    return upload(r, t.data, r->host, (size_t)all * size) &&
           done(comm_all_reduce(r->comm, r->stream, &t, FIRST, FIRST + count, &err) &&
                           comm_wait(r->comm, r->stream, 0, &err),
                   &err) &&
           holds(r, t.data, (size_t)all * size, name_case(type, count));
}

/* Parts of the sum, then the way back: [FIRST, FIRST + world · shard). */
static bool scatter_and_gather(
        struct rank *r, enum dtype type, int64_t shard, int round) {
    size_t size = dtype_size(type);
    int64_t count = shard * r->world, all = FIRST + count + 1;
    int64_t own = FIRST + r->rank * shard;
    struct tensor t = array(r->arena[0], type, all);
    struct text err = {0};
    fill(r->host, type, all, r->rank, round);
    for (int64_t i = 0; i < shard; i++) {
        numbers_put(r->expected, type, i, sum(r->world, round, own + i));
    }
    if (!upload(r, t.data, r->host, (size_t)all * size) ||
            !done(comm_reduce_scatter(
                          r->comm, r->stream, &t, FIRST, FIRST + count, &err) &&
                            comm_wait(r->comm, r->stream, 0, &err),
                    &err) ||
            !holds(r, (char *)t.data + (size_t)own * size, (size_t)shard * size,
                    "a wrong part of a sum")) {
        return false;
    }
    memcpy(r->expected, r->host, (size_t)all * size);
    for (int64_t i = FIRST; i < FIRST + count; i++) {
        numbers_put(r->expected, type, i, sum(r->world, round, i));
    }
    return done(comm_all_gather(
                        r->comm, r->stream, NULL, &t, FIRST, FIRST + count, &err) &&
                           comm_wait(r->comm, r->stream, 0, &err),
                   &err) &&
           holds(r, t.data, (size_t)all * size, "parts that are not the whole");
}

/* Shards that lie elsewhere. */
static bool gather(struct rank *r, enum dtype type, int64_t shard, int round) {
    size_t size = dtype_size(type);
    int64_t count = shard * r->world, all = FIRST + count + 1;
    struct tensor part = array(r->spare, type, shard);
    struct tensor whole = array(r->arena[1], type, all);
    struct text err = {0};
    memset(r->expected, 0xee, (size_t)all * size);
    for (int k = 0; k < r->world; k++) {
        for (int64_t i = 0; i < shard; i++) {
            numbers_put(r->expected, type, FIRST + k * shard + i, number(k, round, i));
        }
    }
    memset(r->host, 0xee, (size_t)all * size);
    if (!upload(r, whole.data, r->host, (size_t)all * size)) {
        return false;
    }
    fill(r->host, type, shard, r->rank, round);
    return upload(r, part.data, r->host, (size_t)shard * size) &&
           done(comm_all_gather(r->comm, r->stream, &part, &whole, FIRST, FIRST + count,
                        &err) &&
                           comm_wait(r->comm, r->stream, 0, &err),
                   &err) &&
           holds(r, whole.data, (size_t)all * size, "not what was handed round");
}

static bool try_all(struct rank *r) {
    bool good = true;
    for (size_t s = 0; good && s < sizeof shards / sizeof *shards; s++) {
        for (size_t t = 0; good && t < sizeof summed / sizeof *summed; t++) {
            good = add_up(r, summed[t], shards[s], (int)s) &&
                   scatter_and_gather(r, summed[t], shards[s], (int)s);
        }
        for (size_t t = 0; good && t < sizeof carried / sizeof *carried; t++) {
            good = gather(r, carried[t], shards[s], (int)s);
        }
    }
    return good && add_up(r, DTYPE_F32, MOST - 2 * FIRST, 1);
}

/* The first of `later + 1` is there once all but `later` are, and then all are. */
static bool wait_for_the_first(struct rank *r, int later) {
    struct tensor first = array(r->arena[0], DTYPE_F32, MOST);
    struct tensor rest = array(r->arena[1], DTYPE_F32, 4 * LATER);
    size_t bytes = MOST * sizeof(float);
    struct text err = {0};
    fill(r->host, DTYPE_F32, MOST, r->rank, later);
    bool good = upload(r, first.data, r->host, bytes) &&
                upload(r, rest.data, r->host, 4 * LATER * sizeof(float)) &&
                done(comm_all_reduce(r->comm, r->stream, &first, 0, MOST, &err), &err);
    for (int i = 0; good && i < later; i++) {
        good = done(comm_all_reduce(r->comm, r->stream, &rest, 4 * i, 4 * i + 4, &err),
                &err);
    }
    for (int64_t i = 0; i < MOST; i++) {
        numbers_put(r->expected, DTYPE_F32, i, sum(r->world, later, i));
    }
    // Copied before the rest is awaited: the device orders it, not the host.
    return good && done(comm_wait(r->comm, r->stream, later, &err), &err) &&
           copy(r, COPY_ON_DEVICE, r->spare, first.data, bytes) &&
           done(comm_wait(r->comm, r->stream, 0, &err), &err) &&
           holds(r, r->spare, bytes, "the first is not there") &&
           holds(r, rest.data, (size_t)later * 4 * sizeof(float),
                   "the rest is not there");
}

/* -- graphs ---------------------------------------------------------------------------
 */

enum { PART = 10000, CUT = 3332, SHARD = 504 };

/*
 * From `spare`: its first PART elements are added up in two buckets, the second while
 * the first is copied away; the next are scattered and gathered.
 */
static bool work(struct rank *r) {
    size_t size = sizeof(float);
    float *source = r->spare, *taken = source + 3 * PART;
    struct tensor a = array(r->arena[0], DTYPE_F32, PART);
    struct tensor b = array(r->arena[1], DTYPE_F32, SHARD * r->world);
    struct text err = {0};
    return copy(r, COPY_ON_DEVICE, a.data, source, PART * size) &&
           done(comm_all_reduce(r->comm, r->stream, &a, CUT, PART, &err), &err) &&
           copy(r, COPY_ON_DEVICE, b.data, source + PART,
                   (size_t)tensor_count(&b) * size) &&
           done(comm_all_reduce(r->comm, r->stream, &a, 0, CUT, &err) &&
                           comm_wait(r->comm, r->stream, 1, &err),
                   &err) &&
           copy(r, COPY_ON_DEVICE, taken, (float *)a.data + CUT,
                   (size_t)(PART - CUT) * size) &&
           done(comm_reduce_scatter(
                        r->comm, r->stream, &b, 0, tensor_count(&b), &err) &&
                           comm_all_gather(r->comm, r->stream, NULL, &b, 0,
                                   tensor_count(&b), &err) &&
                           comm_wait(r->comm, r->stream, 0, &err),
                   &err);
}

static bool load_work(struct rank *r, int round) {
    fill(r->host, DTYPE_F32, PART + SHARD * r->world, r->rank, round);
    return upload(
            r, r->spare, r->host, (size_t)(PART + SHARD * r->world) * sizeof(float));
}

static bool check_work(struct rank *r, int round) {
    size_t size = sizeof(float);
    int64_t count = PART + SHARD * r->world;
    for (int64_t i = 0; i < count; i++) {
        numbers_put(r->expected, DTYPE_F32, i, sum(r->world, round, i));
    }
    bool good = holds(r, r->arena[0], PART * size, "a graph's wrong sum");
    memmove(r->expected, r->expected + (size_t)CUT * size,
            (size_t)(count - CUT) * size);
    good = good && holds(r, (float *)r->spare + 3 * PART, (size_t)(PART - CUT) * size,
                           "a graph's first bucket was not there");
    memmove(r->expected, r->expected + (size_t)(PART - CUT) * size,
            (size_t)(SHARD * r->world) * size);
    return good && holds(r, r->arena[1], (size_t)(SHARD * r->world) * size,
                           "a graph's parts are not the whole");
}

static bool launch(struct rank *r, struct graph *graph) {
    struct text err = {0};
    struct kernel_error why = {0};
    return done(comm_replay(r->comm, r->stream, &err), &err) &&
           did(r->kernels->graph_launch(r->stream, graph, &why), &why);
}

static bool replay_graphs(struct rank *r) {
    struct kernel_error why = {0};
    struct graph *graph = NULL;
    bool good = load_work(r, 0) && work(r) && check_work(r, 0) &&
                did(r->kernels->graph_begin(r->stream, &why), &why) && work(r) &&
                did(r->kernels->graph_end(r->stream, &graph, &why), &why);
    int64_t before = comm_bytes_moved(r->comm);
    for (int round = 1; good && round < 5; round++) {
        // Eager work before and behind each launch, nobody waiting on the host.
        good = load_work(r, round) && launch(r, graph) && work(r) && launch(r, graph) &&
               check_work(r, round) && work(r) && check_work(r, round);
    }
    int64_t moved = comm_bytes_moved(r->comm) - before;
    // Sixteen times, half of them replayed: sums travel as parts and as wholes.
    int64_t expected = (int64_t)(16 * 2 * sizeof(float)) * (r->world - 1) *
                       (PART + SHARD * r->world) / r->world;
    good = good && (llabs(moved - expected) < 1024 || complain("bytes not counted"));
    r->kernels->graph_destroy(graph);
    return good;
}

/* What NCCL's windows would add up wrongly is refused. */
static bool refuse_odd_places(struct rank *r) {
    static const int64_t ranges[][2] = {{1, 9}, {8, 15}};
    struct tensor t = array(r->arena[0], DTYPE_BF16, 16);
    for (int i = 0; i < 2; i++) {
        struct text err = {0};
        if (comm_all_reduce(r->comm, r->stream, &t, ranges[i][0], ranges[i][1], &err)) {
            return complain("an odd place was taken");
        }
        text_finish(&err);
    }
    return true;
}

/* -- the rest -------------------------------------------------------------------------
 */

/* Bits that rounding makes depend on the order of a sum do not depend on the run. */
static bool repeat_bits(struct rank *r) {
    enum { COUNT = 100000 };
    size_t bytes = COUNT * sizeof(float);
    struct tensor t = array(r->arena[0], DTYPE_F32, COUNT);
    struct text err = {0};
    float *values = (float *)r->host;
    uint32_t x = 12345u + (uint32_t)r->rank;
    for (int i = 0; i < COUNT; i++) {
        x = x * 1664525u + 1013904223u;
        values[i] = (float)(x >> 8) / 16777216.0f - 0.37f;
    }
    for (int round = 0; round < 2; round++) {
        bool good = upload(r, t.data, r->host, bytes) &&
                    done(comm_all_reduce(r->comm, r->stream, &t, 0, COUNT, &err) &&
                                    comm_wait(r->comm, r->stream, 0, &err),
                            &err);
        if (good && round == 0) {
            good = copy(r, COPY_TO_HOST, r->expected, t.data, bytes) && synchronize(r);
        }
        if (!good || !holds(r, t.data, bytes, "other bits the second time")) {
            return false;
        }
    }
    return true;
}

static bool tell_facts(struct rank *r) {
    json_t *fields = json_object(), *settled = json_object();
    const char *log = getenv("NCCL_DEBUG_FILE");
    bool logs = r->rank == 0 && log && strstr(log, "/proc/self/fd/");
    comm_facts(r->comm, fields);
    comm_settle(r->comm);
    comm_facts(r->comm, settled);
    const char *name = json_string_value(json_object_get(fields, "comm"));
    const char *registered =
            json_string_value(json_object_get(fields, "nccl_registered"));
    const char *path = json_string_value(json_object_get(fields, "nccl_path"));
    if (r->rank == 0) {
        char *words = json_dumps(fields, JSON_INDENT(1));
        printf("%s\n", words);
        free(words);
    }
    bool plain = getenv("LM_NCCL_REGISTER") != NULL;
    bool good = name && strcmp(name, "NCCL") == 0 &&
                json_object_get(fields, "nccl_version") && registered &&
                (!plain || strncmp(registered, "no: ", 4) == 0) &&
                (!logs || (path && strstr(path, "AllReduce") &&
                                  strstr(path, "ReduceScatter") &&
                                  strstr(path, "AllGather"))) &&
                !json_object_get(settled, "nccl_path");
    json_decref(fields);
    json_decref(settled);
    return good || complain("facts are missing");
}

static bool meet_on_the_host(struct rank *r) {
    struct text err = {0};
    double values[] = {r->rank, 1};
    return done(comm_sum_host(r->comm, values, 2, &err) && comm_barrier(r->comm, &err),
                   &err) &&
           ((values[0] == r->world * (r->world - 1) / 2 && values[1] == r->world) ||
                   complain("wrong sums on the host"));
}

static bool prepare(struct rank *r, bool captured, int fd) {
    struct text err = {0};
    struct kernel_error why = {0};
    struct stream_options stream = {.device = r->rank};
    r->kernels = kernels_cuda();
    r->host = malloc(ARENA);
    r->back = malloc(ARENA);
    r->expected = malloc(ARENA);
    if (!did(r->kernels->stream_create(&stream, &r->stream, &why), &why)) {
        return false;
    }
    struct comm_options options = {.backend = &comm_nccl_backend,
            .rank = r->rank,
            .world = r->world,
            .device = r->rank,
            .shm_fd = fd,
            .bytes = 2 * ARENA,
            .captured = captured,
            .nonce = "gpu_comm",
            .deadline_ms = DEADLINE_MS,
            .kernels = r->kernels};
    if (!done(comm_create(&options, &r->comm, &err), &err)) {
        return false;
    }
    for (int i = 0; i < 2; i++) {
        r->arena[i] = comm_allocate(r->comm, ARENA, &why);
        if (!did(r->arena[i] != NULL, &why)) {
            return false;
        }
    }
    memset(r->expected, 0, ARENA);
    return holds(r, r->arena[1], ARENA, "memory that is not zeroed") &&
           did(r->kernels->allocate(r->rank, MEMORY_DEVICE, SPARE, &r->spare, &why),
                   &why);
}

static void release(struct rank *r) {
    comm_destroy(r->comm);
    r->kernels->release(r->rank, MEMORY_DEVICE, r->spare, SPARE);
    r->kernels->stream_destroy(r->stream);
    free(r->host);
    free(r->back);
    free(r->expected);
}

static int run_rank(int rank, int world, bool captured, int fd) {
    struct rank r = {.rank = rank, .world = world};
    bool good = prepare(&r, captured, fd) && meet_on_the_host(&r) && try_all(&r) &&
                refuse_odd_places(&r) && wait_for_the_first(&r, 0) &&
                wait_for_the_first(&r, 40) && wait_for_the_first(&r, LATER) &&
                replay_graphs(&r) && repeat_bits(&r) && tell_facts(&r) &&
                (comm_device_bytes(r.comm) > 0 || complain("NCCL took no memory"));
    if (!good) {
        fprintf(stderr, "rank %d of %d: %s\n", rank, world, complaint);
        return 1; // others may wait for this one for ever: nothing is undone
    }
    printf("rank %d of %d: NCCL took %lld bytes\n", rank, world,
            (long long)comm_device_bytes(r.comm));
    release(&r);
    return 0;
}

/* -- processes ------------------------------------------------------------------------
 */

static int gpus; // asked for in a process of its own: one with a context cannot fork

static int count_gpus(void) {
    pid_t pid = fork();
    if (pid == 0) {
        int count = kernels_cuda()->device_count();
        _exit(count < WORLD_MAX ? count : WORLD_MAX);
    }
    int status = 0;
    return pid > 0 && waitpid(pid, &status, 0) == pid && WIFEXITED(status)
                   ? WEXITSTATUS(status)
                   : 0;
}

/* One that fails leaves the others waiting: they are ended. */
static void run_ranks(int world, bool captured) {
    int fd = memfd_create("ranks", MFD_CLOEXEC);
    assert_true(fd >= 0);
    pid_t pids[WORLD_MAX];
    for (int r = 0; r < world; r++) {
        fflush(stdout);
        pids[r] = fork();
        assert_true(pids[r] >= 0);
        if (pids[r] == 0) {
            int failed = run_rank(r, world, captured, fd);
            fflush(stdout);
            _exit(failed);
        }
    }
    int failures = 0;
    for (int left = world; left > 0; left--) {
        int status;
        pid_t ended = waitpid(-1, &status, 0);
        assert_true(ended > 0);
        bool failed = !WIFEXITED(status) || WEXITSTATUS(status) != 0;
        for (int r = 0; r < world; r++) {
            pids[r] = pids[r] == ended ? 0 : pids[r];
            if (failed && !failures && pids[r] > 0) {
                kill(pids[r], SIGKILL);
            }
        }
        failures += failed;
    }
    close(fd);
    assert_int_equal(failures, 0);
}

static void two_ranks_in_windows_of_nccl(void **state) {
    (void)state;
    unsetenv("LM_NCCL_REGISTER");
    run_ranks(2, false);
}

static void two_ranks_in_plain_memory(void **state) {
    (void)state;
    setenv("LM_NCCL_REGISTER", "0", 1);
    run_ranks(2, false);
    unsetenv("LM_NCCL_REGISTER");
}

static void two_ranks_whose_steps_are_graphs(void **state) {
    (void)state;
    run_ranks(2, true);
}

static void as_many_ranks_as_gpus(void **state) {
    (void)state;
    if (gpus == 2) {
        skip();
    }
    run_ranks(gpus, false);
}

int main(void) {
    const struct CMUnitTest tests[] = {
            cmocka_unit_test(two_ranks_in_windows_of_nccl),
            cmocka_unit_test(two_ranks_in_plain_memory),
            cmocka_unit_test(two_ranks_whose_steps_are_graphs),
            cmocka_unit_test(as_many_ranks_as_gpus),
    };
    gpus = count_gpus();
    if (gpus < 2) {
        fprintf(stderr, "ranks need two GPUs: %d here\n", gpus);
        return NO_GPU;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}

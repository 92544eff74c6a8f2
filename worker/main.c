#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "worker/allreduce.h"
#include "worker/attempt.h"
#include "worker/backend.h"
#include "worker/build.h"
#include "worker/devices.h"
#include "worker/inject.h"
#include "worker/planner.h"
#include "worker/setup.h"
#include "worker/train.h"
#include "worker/tuner.h"

enum { EXIT_DONE = 0, EXIT_FAILED = 1, EXIT_USAGE = 2, EXIT_NO_DEVICE = 77 };

#define NAME_SIZE 256 // of a device's name

static const char usage[] =
        "usage: %1$s run SPEC.json   train one cell (or one rank of it)\n"
        "       %1$s plan            specs on standard input, one a line; bytes out\n"
        "       %1$s tune TABLE      the same specs in; the fastest matrix products "
        "into a file\n"
        "       %1$s devices         what this worker can run on, as JSON\n"
        "       %1$s memory          how full they are: a line of PCI addresses in, "
        "JSON out\n"
        "       %1$s --version | --build | --help\n"
        "\n"
        "run writes events, one JSON object a line, to descriptor LM_EVENT_FD "
        "(standard\n"
        "output where that is not set). LM_RANK, LM_WORLD, LM_LOCAL_RANK and "
        "LM_SHM_FD\n"
        "place it among a cell's ranks; without them it is the only one. LM_DATA is "
        "the\n"
        "folder that relative data files lie in, LM_TUNING the file that tune wrote.\n"
        "\n"
        "exit: 0 done, 1 failed (the last event says why), 2 usage, 77 no such "
        "device\n";

/* Task noop: it measures what starting and stopping a worker costs. */
static bool run_nothing(struct attempt *a) {
    if (!attempt_phase(a, "start")) {
        return false;
    }
    // Of all the phases it has the first alone.
    if (params_integer(&a->spec.params, PARAM_INJECT) != INJECT_NONE &&
            params_integer(&a->spec.params, PARAM_INJECT_RANK) == a->rank) {
        if (params_integer(&a->spec.params, PARAM_INJECT) == INJECT_NAN) {
            return attempt_fail(a, STATUS_UNSUPPORTED,
                    "inject nan: task noop has no loss that could break");
        }
        if (!inject_strike(a, &(struct inject_device){0})) {
            return false;
        }
    }
    return attempt_phase(a, "end") && attempt_send_object(a, "result", json_object());
}

static bool say_hello(struct attempt *a) {
    char device[NAME_SIZE] = "";
    backend_kernels()->device_name(
            backend_on_gpu() ? a->local_rank : 0, device, sizeof device);
    return attempt_send(a, "hello", "{s:i, s:s, s:s, s:i}", "protocol", EVENT_PROTOCOL,
            "build", build_id(), "device", device, "pid", (int)getpid());
}

/* False, in CUDA's words, where this rank's GPU is not there, or another rank's. */
static bool has_device(const struct attempt *a, struct text *err) {
    const struct kernels *k = backend_kernels();
    struct device_facts facts;
    struct kernel_error why = {0};
    int count = backend_on_gpu() ? k->device_count() : a->world;
    if (count >= a->world && count > a->local_rank) {
        return true;
    }
    if (a->world > 1 && count > 0) {
        return text_fail(
                err, "%d ranks need a GPU each: this host has %d", a->world, count);
    }
    bool told = !k->device_facts(a->local_rank, &facts, &why);
    return text_fail(err, "there is no CUDA device %d here%s%s", a->local_rank,
            told ? ": " : "", told ? why.sentence : "");
}

static bool check_place(struct attempt *a) {
    int64_t ranks = params_integer(&a->spec.params, PARAM_RANKS);
    if (ranks != a->world) {
        return attempt_fail(a, STATUS_FAILED,
                "the cell has %lld ranks, but LM_WORLD is %d: start it through the "
                "runner",
                (long long)ranks, a->world);
    }
    struct text err = {0};
    bool served = setup_check(&a->spec.params, &err) && has_device(a, &err);
    if (!served) {
        attempt_fail(a, STATUS_UNSUPPORTED, "%s", text_get(&err));
    }
    text_finish(&err);
    return served;
}

static bool run_cell(struct attempt *a, const char *path) {
    struct text err = {0};
    if (!say_hello(a)) {
        return false;
    }
    if (!spec_read(path, &a->spec, &err)) {
        attempt_fail(a, STATUS_FAILED, "%s", text_get(&err));
        text_finish(&err);
        return false;
    }
    if (!check_place(a)) {
        return false;
    }
    switch (params_integer(&a->spec.params, PARAM_TASK)) {
    case TASK_NOOP:
        return run_nothing(a);
    case TASK_ALLREDUCE:
        return allreduce_run(a);
    default:
        return train_run(a);
    }
}

static struct attempt *running;

/* Small memory refused, deep inside something that cannot go on without. */
static void tell_refusal(size_t bytes) {
    attempt_report_refusal(running, bytes);
    _exit(EXIT_FAILED);
}

static int run(const char *path) {
    struct attempt a;
    struct text err = {0};
    running = &a;
    if (!attempt_init(&a, &err)) {
        fprintf(stderr, "%s: %s\n", backend_name(), text_get(&err));
        text_finish(&err);
        return EXIT_USAGE;
    }
    text_on_refusal(tell_refusal);
    if (run_cell(&a, path)) {
        attempt_finish(&a);
        return EXIT_DONE;
    }
    attempt_report_failure(&a);
    fprintf(stderr, "%s: rank %d: %s\n", backend_name(), a.rank, text_get(&a.sentence));
    // Other threads may sleep in a collective that will never end: nothing is undone.
    bool no_device = a.status == STATUS_UNSUPPORTED && a.spec.cell &&
                     params_integer(&a.spec.params, PARAM_DEVICE) == DEVICE_CUDA;
    _exit(no_device ? EXIT_NO_DEVICE : EXIT_FAILED);
}

static int plan(void) {
    char *line = NULL;
    size_t capacity = 0;
    ssize_t size;
    while ((size = getline(&line, &capacity, stdin)) > 0) {
        size_t blank = strspn(line, " \t\r\n");
        if (blank == (size_t)size) {
            continue;
        }
        json_t *answer = planner_answer(line, (size_t)size);
        json_dumpf(answer, stdout, JSON_COMPACT);
        putchar('\n');
        // One question, one answer: whoever asks may wait for it before the next.
        fflush(stdout);
        json_decref(answer);
    }
    free(line);
    if (ferror(stdin) || ferror(stdout)) {
        fprintf(stderr, "%s: plan: %s\n", backend_name(), strerror(errno));
        return EXIT_FAILED;
    }
    return EXIT_DONE;
}

static int tune(const char *path) {
    struct text err = {0};
    bool good = tuner_run(stdin, path, stdout, &err);
    if (!good) {
        fprintf(stderr, "%s: tune: %s\n", backend_name(), text_get(&err));
    }
    text_finish(&err);
    return good ? EXIT_DONE : EXIT_FAILED;
}

static int devices(void) {
    json_t *answer = devices_list();
    json_dumpf(answer, stdout, JSON_INDENT(2));
    putchar('\n');
    json_decref(answer);
    return fflush(stdout) == 0 ? EXIT_DONE : EXIT_FAILED;
}

static int memory(void) {
    if (devices_tell_memory(stdin, stdout)) {
        return EXIT_DONE;
    }
    fprintf(stderr, "%s: memory: %s\n", backend_name(), strerror(errno));
    return EXIT_FAILED;
}

/*
 * How long libgomp's threads spin before they sleep; by default for so long that a rank
 * whose cores also serve somebody else waits whole time slices at every barrier (20
 * times slower steps were seen). The library reads this as it is loaded, hence the new
 * start. Whoever set one of the two variables is obeyed.
 */
static void settle_patience(char **argv) {
    if (!getenv("GOMP_SPINCOUNT") && !getenv("OMP_WAIT_POLICY") &&
            setenv("GOMP_SPINCOUNT", "2000", 0) == 0) {
        execv("/proc/self/exe", argv);
        // Without /proc the worker runs all the same, its threads only spin longer.
    }
}

int main(int argc, char **argv) {
    const char *command = argc > 1 ? argv[1] : "";
    if (argc == 3 && strcmp(command, "run") == 0) {
        settle_patience(argv);
        return run(argv[2]);
    }
    if (argc == 2 && strcmp(command, "plan") == 0) {
        return plan();
    }
    if (argc == 3 && strcmp(command, "tune") == 0) {
        return tune(argv[2]);
    }
    if (argc == 2 && strcmp(command, "devices") == 0) {
        return devices();
    }
    if (argc == 2 && strcmp(command, "memory") == 0) {
        return memory();
    }
    if (argc == 2 && strcmp(command, "--version") == 0) {
        printf("%s %s\n", backend_name(), LM_VERSION);
        return EXIT_DONE;
    }
    if (argc == 2 && strcmp(command, "--build") == 0) {
        printf("%s\n", build_id());
        return EXIT_DONE;
    }
    bool help =
            argc == 2 && (strcmp(command, "--help") == 0 || strcmp(command, "-h") == 0);
    if (!help && argc > 1) {
        fprintf(stderr, "%s: unknown command or wrong number of arguments: '%s'\n",
                backend_name(), command);
    }
    fprintf(help ? stdout : stderr, usage, backend_name());
    return help ? EXIT_DONE : EXIT_USAGE;
}

/*
 * A worker that does as told: `misbehave run SPEC.json`, told by $MISBEHAVE (default
 * "ok"). Speaks the event protocol by hand, so that it tests the protocol rather than
 * the code that writes it. With $MISBEHAVE_RANK set, only that rank misbehaves; the
 * others step on for ever, as peers stuck in a collective would.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

static int event_fd = STDOUT_FILENO;

static int number(const char *digits) {
    return (int)strtol(digits, NULL, 10);
}

static void say(const char *line) {
    size_t left = strlen(line);
    while (left) {
        ssize_t n = write(event_fd, line, left);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0) {
            _exit(1);
        }
        line += n;
        left -= (size_t)n;
    }
}

static void hello(void) {
    char line[160];
    snprintf(line, sizeof line,
            "{\"event\":\"hello\",\"t_ms\":0,\"protocol\":1,\"build\":\"misbehave\","
            "\"device\":\"cpu\",\"pid\":%d}\n",
            (int)getpid());
    say(line);
}

static void step(int n) {
    char line[160];
    snprintf(line, sizeof line,
            "{\"event\":\"step\",\"t_ms\":%d,\"step\":%d,\"loss\":1.5,\"tokens\":64,"
            "\"ms\":1.0}\n",
            n, n);
    say(line);
}

static void phase(const char *name) {
    char line[96];
    snprintf(line, sizeof line, "{\"event\":\"phase\",\"t_ms\":1,\"name\":\"%s\"}\n",
            name);
    say(line);
}

static void result(void) {
    say("{\"event\":\"result\",\"t_ms\":9,\"window_tokens\":128,\"window_ms\":64.0,"
        "\"peak_bytes\":1048576,\"params\":1000,\"final_loss\":1.5}\n");
}

static _Noreturn void sleep_for_ever(void) {
    for (;;) {
        pause();
    }
}

static void finish(void) {
    phase("measure");
    step(1);
    step(2);
    result();
}

static _Noreturn void stall(void) {
    phase("measure");
    for (int n = 1;; n = n < 3 ? n + 1 : n) {
        step(n);
        usleep(50000);
    }
}

/* A child in a session of its own that outlives us and holds on to everything. */
static void leave_orphan(int twice) {
    if (fork() == 0) {
        setsid();
        prctl(PR_SET_PDEATHSIG, 0);
        signal(SIGTERM, SIG_IGN);
        signal(SIGHUP, SIG_IGN);
        if (twice && fork() != 0) {
            _exit(0);
        }
        sleep_for_ever();
    }
    if (twice) {
        wait(NULL);
    }
}

static void do_ok(void) {
    finish();
}
static void do_noop(void) {
    result();
}
static void do_hang(void) {
    phase("measure");
    step(1);
    sleep_for_ever();
}
static void do_never_starts(void) {
    sleep_for_ever();
}
static void do_stall(void) {
    stall();
}
static void do_segv(void) {
    step(1);
    signal(SIGSEGV, SIG_DFL);
    raise(SIGSEGV);
}
static void do_abort(void) {
    step(1);
    abort();
}
static void do_exit(void) {
    step(1);
    fputs("the last words of a failing worker\n", stderr);
    exit(3);
}
static void do_absent(void) {
    exit(77);
}
static void do_garbage(void) {
    step(1);
    say("\x01\x02 this is no event\n");
    sleep_for_ever();
}
static void do_torn(void) {
    step(1);
    result();
    say("{\"event\":\"st");
}
static void do_long_line(void) {
    char block[8193];
    memset(block, 'x', sizeof block - 1);
    block[sizeof block - 1] = '\0';
    for (;;) {
        say(block);
    }
}
static void do_no_result(void) {
    step(1);
}
static void do_orphan(void) {
    leave_orphan(0);
    finish();
}
static void do_daemon(void) {
    leave_orphan(1);
    finish();
}
static void do_stubborn(void) {
    signal(SIGTERM, SIG_IGN);
    do_hang();
}
static void do_polite(void) {
    // Says why it leaves when told to: that must not be taken for its own failure.
    sigset_t set;
    int got;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigprocmask(SIG_BLOCK, &set, NULL);
    step(1);
    sigwait(&set, &got);
    say("{\"event\":\"error\",\"t_ms\":5,\"kind\":\"failed\",\"text\":\"terminated\"}"
        "\n");
    _exit(1);
}
static void do_chatty(void) {
    for (int i = 0; i < 40000; i++) {
        fprintf(stdout, "line %d of a great many lines that nobody asked for\n", i);
        fprintf(stderr, "line %d of a great many lines that nobody asked for\n", i);
    }
    fflush(stdout);
    for (int i = 1; i < 5000; i++) {
        step(i);
    }
    result();
}
/* More than is kept of what a worker prints, yet no more than a disk has room for. */
static void flood(int fd) {
    static char block[1 << 20];
    memset(block, 'y', sizeof block);
    step(1);
    for (int i = 0; i < 72; i++) {
        for (size_t done = 0; done < sizeof block;) {
            ssize_t n = write(fd, block + done, sizeof block - done);
            if (n < 0) {
                _exit(1);
            }
            done += (size_t)n;
        }
    }
}
static void do_flood_stdout(void) {
    flood(STDOUT_FILENO);
    sleep_for_ever();
}
static void do_flood_stderr(void) {
    flood(STDERR_FILENO);
    sleep_for_ever();
}
static void do_flood_and_finish(void) {
    flood(STDERR_FILENO);
    finish();
}
static void do_slow_start(void) {
    phase("start");
    usleep(300000);
    finish();
}
static void do_invalid(void) {
    step(7);
    say("{\"event\":\"error\",\"t_ms\":5,\"kind\":\"invalid\",\"phase\":\"measure\","
        "\"step\":7,\"text\":\"the loss of step 7 is not finite\"}\n");
    _exit(1);
}
static void do_oom(void) {
    say("{\"event\":\"error\",\"t_ms\":5,\"kind\":\"oom_host\",\"phase\":\"start\","
        "\"step\":0,\"bytes_asked\":4096,\"bytes_free\":1024,\"predicted\":true,"
        "\"text\":\"4096 bytes do not fit\"}\n");
    _exit(1);
}
static void do_oom_device(void) {
    phase("measure");
    step(1);
    say("{\"event\":\"error\",\"t_ms\":5,\"kind\":\"oom_device\",\"phase\":\"measure\","
        "\"step\":1,\"bytes_asked\":8192,\"bytes_free\":2048,"
        "\"text\":\"device memory: out of memory\"}\n");
    _exit(1);
}

static void do_device_fault(void) {
    step(2);
    say("{\"event\":\"error\",\"t_ms\":5,\"kind\":\"crashed\",\"phase\":\"measure\","
        "\"step\":2,\"text\":\"an illegal memory access was encountered\"}\n");
    _exit(1);
}

static char *spec_path;

/* "batch" of the spec. */
static int batch(void) {
    char bytes[8192];
    int fd = open(spec_path, O_RDONLY);
    ssize_t n = read(fd, bytes, sizeof bytes - 1);
    bytes[n > 0 ? n : 0] = '\0';
    close(fd);
    char *at = strstr(bytes, "\"batch\":");
    return at ? number(at + strlen("\"batch\":")) : 0;
}

/* Whether the batch is above $MISBEHAVE_BATCH. */
static int too_large(void) {
    const char *most = getenv("MISBEHAVE_BATCH");
    return batch() > (most ? number(most) : 0);
}

/* Whether this is the attempt itself, after the probes of `batch: max`. */
static int is_resolved(void) {
    return strstr(spec_path, "/spec_resolved.json") != NULL;
}

static void do_oom_above(void) {
    if (too_large()) {
        do_oom_device();
    }
    finish();
}
/* As above, but the attempt itself has less room than its probes had. */
static void do_oom_late(void) {
    const char *most = getenv("MISBEHAVE_LATE");
    if (is_resolved() && batch() > (most ? number(most) : 0)) {
        do_oom();
    }
    do_oom_above();
}
static void do_segv_above(void) {
    if (too_large()) {
        do_segv();
    }
    finish();
}
static void do_hang_above(void) {
    if (too_large()) {
        do_hang();
    }
    finish();
}
static void do_error_then_hang(void) {
    say("{\"event\":\"error\",\"t_ms\":5,\"kind\":\"oom_device\",\"text\":\"no "
        "room\"}\n");
    sleep_for_ever();
}
/* Rank 0 sees its peer's death, in its own way, before the supervisor does. */
static void do_blame(void) {
    step(1);
    const char *rank = getenv("LM_RANK");
    if (rank && number(rank) == 0) {
        say("{\"event\":\"error\",\"t_ms\":5,\"kind\":\"failed\",\"text\":\"a peer is "
            "lost\",\"collateral\":true}\n");
        _exit(1);
    }
    usleep(300000);
    raise(SIGKILL);
}
/* All wait, and say so, for the last rank, which does nothing. */
static void do_awaited(void) {
    phase("measure");
    step(1);
    const char *rank = getenv("LM_RANK"), *world = getenv("LM_WORLD");
    if (rank && world && number(rank) == number(world) - 1) {
        sleep_for_ever();
    }
    for (;;) {
        usleep(100000);
        say("{\"event\":\"progress\",\"t_ms\":6,\"waiting\":true}\n");
    }
}
/* Everybody waits for somebody else, and says so for ever. */
static void do_deadlock(void) {
    phase("measure");
    step(1);
    for (;;) {
        usleep(50000);
        say("{\"event\":\"progress\",\"t_ms\":6,\"waiting\":true}\n");
    }
}
static void do_claims_timeout(void) {
    say("{\"event\":\"error\",\"t_ms\":5,\"kind\":\"ok\",\"text\":\"all is well\"}\n");
    _exit(1);
}
static void do_killed(void) {
    step(1);
    kill(getpid(), SIGKILL);
}
static void do_allocate(void) {
    // Takes memory until there is none, and says so, as a worker does.
    for (size_t taken = 0;; taken += 1 << 20) {
        void *p = mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE,
                MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (p == MAP_FAILED) {
            do_oom();
        }
        if (taken >= (size_t)1 << 31) {
            exit(4);
        }
    }
}
static void do_environment(void) {
    // Everything design §6 promises; a missing piece is an exit code of its own.
    static const char *const names[] = {
            "LM_EVENT_FD", "LM_RANK", "LM_WORLD", "LM_LOCAL_RANK", "LM_NONCE"};
    for (int i = 0; i < 5; i++) {
        if (!getenv(names[i])) {
            exit(10 + i);
        }
    }
    if (number(getenv("LM_WORLD")) > 1) {
        const char *fd = getenv("LM_SHM_FD");
        if (!fd || ftruncate(number(fd), 4096)) {
            exit(20);
        }
    }
    if (getsid(0) != getpid()) {
        exit(21);
    }
    for (int fd = 3; fd < 64; fd++) {
        const char *shm = getenv("LM_SHM_FD");
        if (fd != event_fd && !(shm && fd == number(shm)) && fcntl(fd, F_GETFD) >= 0) {
            exit(22);
        }
    }
    finish();
}

static const struct {
    const char *name;
    void (*act)(void);
} acts[] = {
        {"ok", do_ok},
        {"noop", do_noop},
        {"hang", do_hang},
        {"never_starts", do_never_starts},
        {"stall", do_stall},
        {"segv", do_segv},
        {"abort", do_abort},
        {"exit", do_exit},
        {"absent", do_absent},
        {"garbage", do_garbage},
        {"torn", do_torn},
        {"long_line", do_long_line},
        {"no_result", do_no_result},
        {"orphan", do_orphan},
        {"daemon", do_daemon},
        {"stubborn", do_stubborn},
        {"polite", do_polite},
        {"chatty", do_chatty},
        {"flood_stdout", do_flood_stdout},
        {"flood_stderr", do_flood_stderr},
        {"flood_and_finish", do_flood_and_finish},
        {"slow_start", do_slow_start},
        {"invalid", do_invalid},
        {"oom", do_oom},
        {"oom_device", do_oom_device},
        {"device_fault", do_device_fault},
        {"oom_above", do_oom_above},
        {"oom_late", do_oom_late},
        {"segv_above", do_segv_above},
        {"hang_above", do_hang_above},
        {"error_then_hang", do_error_then_hang},
        {"blame", do_blame},
        {"awaited", do_awaited},
        {"deadlock", do_deadlock},
        {"claims_ok", do_claims_timeout},
        {"killed", do_killed},
        {"allocate", do_allocate},
        {"environment", do_environment},
};

int main(int argc, char **argv) {
    const char *fd = getenv("LM_EVENT_FD"), *act = getenv("MISBEHAVE");
    const char *rank = getenv("LM_RANK"), *guilty = getenv("MISBEHAVE_RANK");
    if (argc != 3 || strcmp(argv[1], "run")) {
        fputs("usage: misbehave run SPEC.json\n", stderr);
        return 2;
    }
    spec_path = argv[2];
    if (fd) {
        event_fd = number(fd);
    }
    act = act ? act : "ok";
    if (!strcmp(act, "protocol")) {
        say("{\"event\":\"hello\",\"t_ms\":0,\"protocol\":99,\"build\":\"x\","
            "\"device\":\"cpu\",\"pid\":1}\n");
        sleep_for_ever();
    }
    if (!strcmp(act, "no_hello")) {
        step(1);
        sleep_for_ever();
    }
    hello();
    if (guilty && rank && strcmp(guilty, rank)) {
        stall();
    }
    for (size_t i = 0; i < sizeof acts / sizeof *acts; i++) {
        if (!strcmp(acts[i].name, act)) {
            acts[i].act();
            return 0;
        }
    }
    fprintf(stderr, "misbehave: no act '%s'\n", act);
    return 2;
}

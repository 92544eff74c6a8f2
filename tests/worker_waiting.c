/* Ranks that wait for a late one: what it costs, and what they are told meanwhile. */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <time.h>

#include <cmocka.h>

#include "tests/helpers/crew.h"
#include "worker/comm.h"

static const char *wait_and_join(struct comm *c, int rank, int world) {
    (void)world;
    struct text err = {0};
    if (rank == 1) {
        nanosleep(&(struct timespec){0, 300 * 1000 * 1000}, NULL);
    }
    struct kernel_error why;
    float *x = comm_allocate(c, sizeof *x, &why);
    struct tensor t = {x, DTYPE_F32, 1, {1}};
    *x = 1;
    comm_all_reduce(c, NULL, &t, 0, 1, &err);
    comm_wait(c, NULL, 0, &err);
    comm_barrier(c, &err);
    return NULL;
}

static double cpu_seconds(void) {
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) +
           (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}

static void waiting_for_a_late_rank_costs_no_cpu(void **state) {
    (void)state;
    double before = cpu_seconds();
    crew_run_threads(2, 64, wait_and_join, NULL);
    // One rank waited 0.3 s, twice over: a spin would have used it all.
    assert_true(cpu_seconds() - before < 0.15);
}

static const char *come_late(struct comm *c, int rank, int world) {
    (void)world;
    struct text err = {0};
    if (rank == 1) {
        nanosleep(&(struct timespec){2, 500 * 1000 * 1000}, NULL);
    }
    comm_barrier(c, &err);
    comm_barrier(c, &err);
    return NULL;
}

static void who_waits_for_a_late_rank_is_told_so(void **state) {
    (void)state;
    struct crew_told told[2] = {{0}};
    crew_run_threads(2, 64, come_late, told);
    assert_true(told[0].waiting >= 2); // each second anew
}

/* Rank 0 queues all at once, rank 1 one every 0.3 s. */
static const char *come_again_and_again(struct comm *c, int rank, int world) {
    (void)world;
    struct text err = {0};
    struct kernel_error why;
    float *x = comm_allocate(c, sizeof *x, &why);
    struct tensor t = {x, DTYPE_F32, 1, {1}};
    for (int i = 0; i < 10; i++) {
        if (rank == 1) {
            nanosleep(&(struct timespec){0, 300 * 1000 * 1000}, NULL);
        }
        comm_all_reduce(c, NULL, &t, 0, 1, &err);
    }
    comm_wait(c, NULL, 0, &err);
    return NULL;
}

static void operations_that_end_count_as_moving(void **state) {
    (void)state;
    struct crew_told told[2] = {{0}};
    crew_run_threads(2, 64, come_again_and_again, told);
    assert_true(told[0].moving >= 1);
}

static void *slow_page;

/* The page can be read once whoever reads it has slept. */
static void let_read_later(int number) {
    (void)number;
    nanosleep(&(struct timespec){2, 500 * 1000 * 1000}, NULL);
    mprotect(slow_page, 4096, PROT_READ);
}

static const char *gather_slowly(struct comm *c, int rank, int world) {
    (void)world;
    struct text err = {0};
    struct kernel_error why;
    float own = 1, *all = comm_allocate(c, 2 * sizeof *all, &why);
    struct tensor from = {rank == 0 ? slow_page : &own, DTYPE_F32, 1, {1}};
    struct tensor to = {all, DTYPE_F32, 1, {2}};
    comm_all_gather(c, NULL, &from, &to, 0, 2, &err);
    comm_wait(c, NULL, 0, &err);
    return NULL;
}

static void who_does_its_part_moves_and_the_other_waits(void **state) {
    (void)state;
    slow_page = mmap(NULL, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_true(slow_page != MAP_FAILED);
    struct sigaction slow = {.sa_handler = let_read_later}, before;
    sigaction(SIGSEGV, &slow, &before);
    struct crew_told told[2] = {{0}};
    crew_run_threads(2, 64, gather_slowly, told);
    sigaction(SIGSEGV, &before, NULL);
    assert_true(told[0].moving >= 2);
    assert_true(told[1].waiting >= 1);
    munmap(slow_page, 4096);
}

int main(void) {
    const struct CMUnitTest tests[] = {
            cmocka_unit_test(waiting_for_a_late_rank_costs_no_cpu),
            cmocka_unit_test(who_waits_for_a_late_rank_is_told_so),
            cmocka_unit_test(operations_that_end_count_as_moving),
            cmocka_unit_test(who_does_its_part_moves_and_the_other_waits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

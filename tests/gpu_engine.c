#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <setjmp.h> // cmocka.h wants the four above first

#include "tests/helpers/cell.h"
#include "worker/ledger.h"

enum { STEPS = 50, NO_GPU = 77 };

/* Wide enough for tensor cores, odd enough for their edges: 3 heads, 61 of 128 rows. */
#define BASE "d_model=96 heads=3 d_ff=200 seq_len=48 batch=3 layers=3 "

static void train(
        const struct kernels *kernels, const char *words, int steps, double *losses) {
    struct cell c;
    cell_create(&c, kernels, words);
    for (int i = 0; i < steps; i++) {
        losses[i] = cell_step(&c, i, 3e-3).loss;
    }
    cell_destroy(&c);
}

/* -- against the CPU -----------------------------------------------------------------
 */

struct gradients {
    double **values;
    int count;
    double loss;
};

/* The gradients of batch 0 at the weights of `from`, or where that is NULL its own. */
static struct gradients gradients_of(
        const struct kernels *kernels, const char *words, struct cell *from) {
    struct cell c;
    struct text err = {0};
    cell_create(&c, kernels, words);
    const struct parameters *all = engine_parameters(c.engine);
    struct gradients g = {.count = all->count};
    for (int i = 0; from && i < all->count; i++) {
        double *values = cell_parameter(from, i);
        assert_true(engine_write_parameter(c.engine, i, values, &err));
        free(values);
    }
    g.loss = cell_step(&c, 0, 0).loss;
    g.values = text_allocate((size_t)all->count * sizeof *g.values);
    for (int i = 0; i < all->count; i++) {
        g.values[i] = cell_gradient(&c, i);
    }
    cell_destroy(&c);
    return g;
}

static void gradients_free(struct gradients *g) {
    for (int i = 0; i < g->count; i++) {
        free(g->values[i]);
    }
    free(g->values);
}

/* True where a gradient is 0 but for rounding: a key's bias moves no softmax. */
static bool is_noise(const double *values, int64_t count) {
    double sum = 0;
    for (int64_t i = 0; i < count; i++) {
        sum += values[i] * values[i];
    }
    return sqrt(sum) < 1e-6;
}

static void gradients_must_be_near(
        const char *gpu, const char *cpu, double tolerance, double loss_tolerance) {
    struct cell weights;
    cell_create(&weights, kernels_cpu(), cpu);
    struct gradients a = gradients_of(kernels_cuda(), gpu, &weights);
    struct gradients b = gradients_of(kernels_cpu(), cpu, &weights);
    const struct parameters *all = engine_parameters(weights.engine);
    double worst = 0;
    if (!(fabs(a.loss - b.loss) <= loss_tolerance * b.loss)) {
        fail_msg("'%s': the loss is %.9g, the CPU's %.9g", gpu, a.loss, b.loss);
    }
    for (int i = 0; i < a.count; i++) {
        int64_t count = all->items[i].count;
        double distance = cell_distance(a.values[i], b.values[i], count);
        if (is_noise(b.values[i], count) && is_noise(a.values[i], count)) {
            continue;
        }
        if (!(distance <= tolerance)) {
            fail_msg("'%s': gradient of %s is off by %.3g (allowed %.3g)", gpu,
                    all->items[i].name, distance, tolerance);
        }
        worst = fmax(worst, distance);
    }
    print_message("%-78s loss %.1e gradient %.1e\n", gpu,
            fabs(a.loss - b.loss) / b.loss, worst);
    gradients_free(&a);
    gradients_free(&b);
    cell_destroy(&weights);
}

static const char *const techniques[] = {"arch=gpt", "arch=llama",
        "arch=llama heads=6 kv_heads=2", "arch=gpt window=7",
        "arch=llama heads=6 kv_heads=3 window=20", "arch=gpt recompute=act_norm",
        "arch=llama recompute=act checkpoint=block checkpoint_every=2",
        "arch=gpt accumulate=2 grad_clip=0.1", "arch=gpt vocab=259 seq_len=33 batch=1"};

static void fp32_gradients_are_the_cpus(void **state) {
    (void)state;
    static const char *const kernels[] = {"naive", "fused"};
    for (int k = 0; k < 2; k++) {
        for (size_t i = 0; i < sizeof techniques / sizeof *techniques; i++) {
            char words[256];
            snprintf(words, sizeof words, BASE "%s kernel=%s", techniques[i],
                    kernels[k]);
            gradients_must_be_near(words, words, 2e-6, 1e-6);
        }
    }
}

/* Against the CPU in the same type: two roundings of one truth. */
static void low_precision_gradients_are_near_the_cpus(void **state) {
    (void)state;
    static const struct {
        const char *words;
        double gradient, loss;
    } precisions[] = {{"precision=bf16", 2e-2, 2e-4}, {"precision=fp16", 3e-3, 3e-5},
            {"precision=bf16 grad=fp32", 2e-2, 2e-4}};
    static const char *const kernels[] = {"naive", "fused", "cudnn"};
    for (int k = 0; k < 3; k++) {
        if (!kernels_cuda()->attention(kernels[k])) {
            print_message("kernel '%s' was not built\n", kernels[k]);
            continue;
        }
        for (int p = 0; p < 3; p++) {
            for (size_t i = 0; i < sizeof techniques / sizeof *techniques; i++) {
                char gpu[256], cpu[256];
                snprintf(gpu, sizeof gpu, BASE "%s %s kernel=%s", techniques[i],
                        precisions[p].words, kernels[k]);
                snprintf(cpu, sizeof cpu, BASE "%s %s kernel=%s", techniques[i],
                        precisions[p].words, k == 2 ? "flash" : kernels[k]);
                gradients_must_be_near(
                        gpu, cpu, precisions[p].gradient, precisions[p].loss);
            }
        }
    }
}

static void tf32_gradients_are_near_fp32(void **state) {
    (void)state;
    gradients_must_be_near(BASE "arch=gpt precision=tf32", BASE "arch=gpt", 2e-3, 2e-5);
    gradients_must_be_near(
            BASE "arch=llama precision=tf32", BASE "arch=llama", 2e-3, 2e-5);
}

static void initial_weights_are_the_cpus(void **state) {
    (void)state;
    struct cell a, b;
    cell_create(&a, kernels_cuda(), BASE "arch=gpt");
    cell_create(&b, kernels_cpu(), BASE "arch=gpt");
    const struct parameters *all = engine_parameters(a.engine);
    for (int i = 0; i < all->count; i++) {
        double *x = cell_parameter(&a, i), *y = cell_parameter(&b, i);
        assert_true(cell_distance(x, y, all->items[i].count) < 1e-7);
        free(x);
        free(y);
    }
    cell_destroy(&a);
    cell_destroy(&b);
}

/* At a rate that lets no rounding grow: AdamW makes much of small gradients. */
static void fp32_training_follows_the_cpu(void **state) {
    (void)state;
    static const char *const archs[] = {BASE "arch=gpt", BASE "arch=llama"};
    for (int i = 0; i < 2; i++) {
        struct cell a, b;
        cell_create(&a, kernels_cuda(), archs[i]);
        cell_create(&b, kernels_cpu(), archs[i]);
        for (int k = 0; k < 20; k++) {
            double gpu = cell_step(&a, k, 3e-4).loss, cpu = cell_step(&b, k, 3e-4).loss;
            if (!(fabs(gpu - cpu) <= 2e-5 * cpu)) {
                fail_msg(
                        "step %d of '%s': %.9g, the CPU's %.9g", k, archs[i], gpu, cpu);
            }
        }
        cell_destroy(&a);
        cell_destroy(&b);
    }
}

/* -- the same bits -------------------------------------------------------------------
 */

static void bits_must_match(const char *words, const char *others) {
    double a[STEPS], b[STEPS];
    train(kernels_cuda(), words, STEPS, a);
    train(kernels_cuda(), others, STEPS, b);
    for (int i = 0; i < STEPS; i++) {
        if (memcmp(&a[i], &b[i], sizeof a[i]) != 0 || !isfinite(a[i])) {
            fail_msg("step %d: %.17g with '%s', %.17g with '%s'", i, a[i], words, b[i],
                    others);
        }
    }
}

static void repeats_graphs_and_checkpointing_change_no_bit(void **state) {
    (void)state;
    static const char *const kernels[] = {"naive", "fused", "cudnn"};
    static const char *const precisions[] = {"fp32", "bf16", "fp16", "tf32"};
    static const char *const archs[] = {"gpt", "llama heads=6 kv_heads=2"};
    for (int n = 0; n < 3 * 4 * 2; n++) {
        const char *kernel = kernels[n / 8], *precision = precisions[n / 2 % 4];
        bool low = n / 2 % 4 == 1 || n / 2 % 4 == 2;
        if (n / 8 == 2 && (!low || !kernels_cuda()->attention(kernel))) {
            continue;
        }
        char plain[256], other[320];
        snprintf(plain, sizeof plain, BASE "arch=%s kernel=%s precision=%s",
                archs[n % 2], kernel, precision);
        bits_must_match(plain, plain);
        snprintf(other, sizeof other, "%s graph=on", plain);
        bits_must_match(plain, other);
        snprintf(other, sizeof other, "%s checkpoint=block checkpoint_every=2", plain);
        bits_must_match(plain, other);
        snprintf(other, sizeof other, "%s checkpoint=block graph=on", plain);
        bits_must_match(plain, other);
    }
}

static void accumulating_graphs_change_no_bit(void **state) {
    (void)state;
    bits_must_match(BASE "arch=gpt precision=bf16 accumulate=3",
            BASE "arch=gpt precision=bf16 accumulate=3 graph=on");
}

/* -- the device's own ----------------------------------------------------------------
 */

static void overflowing_fp16_step_is_skipped_within_a_graph(void **state) {
    (void)state;
    struct cell c;
    cell_create(&c, kernels_cuda(), "precision=fp16 graph=on");
    cell_scale(&c, "transformer.wte.weight", 400);
    struct engine_step step = cell_step(&c, 0, 1e-3);
    assert_int_equal(step.skipped, 1);
    for (int i = 0; i < 20; i++) {
        step = cell_step(&c, 0, 1e-3);
    }
    assert_true(step.skipped < 21);
    assert_true(isfinite(step.grad_norm) && isfinite(step.loss));
    cell_destroy(&c);
}

/* Fills of any size and place, in a graph, reach just their bytes and in their order.
 */
static void fills_of_a_graph_reach_their_bytes(void **state) {
    (void)state;
    enum { BYTES = 4096 };
    static const struct {
        size_t at, bytes;
        unsigned char byte;
    } fills[] = {{0, BYTES, 7}, {4, 4, 0}, {33, 1, 0xff}, {101, 97, 0x5a},
            {1024, 256, 1}, {1100, 8, 2}, {2000, 257, 3}, {2001, 3, 4}};
    const struct kernels *k = kernels_cuda();
    struct kernel_error why = {0};
    struct stream *stream;
    struct graph *graph;
    void *memory;
    unsigned char expected[BYTES] = {0}, found[BYTES];
    assert_true(k->stream_create(&(struct stream_options){0}, &stream, &why));
    assert_true(k->allocate(0, MEMORY_DEVICE, BYTES, &memory, &why));
    assert_true(k->graph_begin(stream, &why));
    for (size_t i = 0; i < sizeof fills / sizeof *fills; i++) {
        memset(expected + fills[i].at, fills[i].byte, fills[i].bytes);
        assert_true(k->fill(stream, (char *)memory + fills[i].at, fills[i].byte,
                fills[i].bytes, &why));
    }
    assert_true(k->graph_end(stream, &graph, &why));
    for (int replay = 0; replay < 2; replay++) {
        assert_true(k->fill(stream, memory, 0xee, BYTES, &why));
        assert_true(k->graph_launch(stream, graph, &why));
        assert_true(k->copy(stream, COPY_TO_HOST, found, memory, BYTES, &why));
        assert_true(k->stream_synchronize(stream, &why));
        assert_memory_equal(found, expected, BYTES);
    }
    k->graph_destroy(graph);
    k->release(0, MEMORY_DEVICE, memory, BYTES);
    k->stream_destroy(stream);
}

static void memory_stays_within_the_plan(void **state) {
    (void)state;
    static const char *const cases[] = {BASE "arch=gpt",
            BASE "arch=llama precision=bf16",
            BASE "arch=gpt precision=bf16 kernel=fused checkpoint=block",
            BASE "arch=llama precision=fp16 recompute=act_norm accumulate=2"};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct cell c;
        struct engine_memory memory;
        struct text err = {0};
        double loss, correct;
        cell_init(&c, kernels_cuda(), cases[i]);
        c.options.poison = c.options.red_zones = true;
        cell_start(&c);
        cell_step(&c, 0, 1e-3);
        assert_true(
                engine_evaluate(c.engine, c.inputs, c.targets, &loss, &correct, &err));
        assert_true(engine_memory(c.engine, &memory, &err));
        for (int o = 0; o < OWNER_COUNT; o++) {
            assert_true(memory.measured[o] >= 0);
            assert_true(memory.measured[o] <= memory.planned[o]);
            // A library's workspace may stay empty, and may end the activations.
            assert_true(
                    o == OWNER_ACTIVATIONS || memory.measured[o] == memory.planned[o]);
        }
        cell_destroy(&c);
    }
}

static void instrumented_steps_tell_phases_with_and_without_graphs(void **state) {
    (void)state;
    static const char *const cases[] = {BASE "", BASE "graph=on"};
    for (int i = 0; i < 2; i++) {
        struct cell c;
        struct text err = {0};
        struct engine_phases phases;
        struct engine_step step;
        double plain[2];
        train(kernels_cuda(), cases[i], 2, plain);
        cell_create(&c, kernels_cuda(), cases[i]);
        cell_step(&c, 0, 3e-3);
        cell_batch(&c, 1);
        assert_true(engine_step_instrumented(
                c.engine, c.inputs, c.targets, 3e-3, &phases, &err));
        assert_true(engine_finish_step(c.engine, &step, &err));
        assert_true(phases.forward_ms > 0 && phases.backward_ms > 0);
        assert_true(phases.optimizer_ms > 0 && phases.data_ms >= 0);
        assert_true(step.loss == plain[1]); // it is a step like any other
        cell_destroy(&c);
    }
}

static void every_op_is_timed_with_and_without_graphs(void **state) {
    (void)state;
    static const char *const words[] = {BASE "precision=bf16 accumulate=2",
            BASE "precision=bf16 accumulate=2 graph=on"};
    for (int n = 0; n < 2; n++) {
        struct cell c, plain;
        struct ledger ledger = {0};
        struct text err = {0};
        struct engine_step step;
        cell_create(&c, kernels_cuda(), words[n]);
        cell_create(&plain, kernels_cuda(), words[n]);
        // The first step of all is never captured.
        assert_true(cell_step(&c, 9, 1e-3).loss == cell_step(&plain, 9, 1e-3).loss);
        for (int i = 0; i < LEDGER_STEPS; i++) {
            cell_batch(&c, i);
            if (!engine_step_ops(c.engine, c.inputs, c.targets, 1e-3, &ledger, &err) ||
                    !engine_finish_step(c.engine, &step, &err)) {
                fail_msg("%s: %s", words[n], text_get(&err));
            }
            assert_true(step.loss == cell_step(&plain, i, 1e-3).loss);
            for (int k = 0; k < ledger.count; k++) {
                // A product is never too short for the clock of events.
                double least = ledger.rows[k].flops > 0 ? 1e-4 : 0;
                assert_true(ledger.rows[k].ms[i] >= least);
            }
        }
        assert_int_equal(ledger.steps, LEDGER_STEPS);
        assert_true(ledger.mark_ms > 0 && ledger.mark_ms < 1);
        ledger_finish(&ledger);
        cell_destroy(&c);
        cell_destroy(&plain);
    }
}

static void more_memory_than_the_device_has_is_refused(void **state) {
    (void)state;
    struct kernel_error why = {0};
    void *memory;
    size_t bytes = (size_t)1 << 45;
    assert_false(kernels_cuda()->allocate(0, MEMORY_DEVICE, bytes, &memory, &why));
    assert_int_equal(why.kind, KERNEL_OUT_OF_DEVICE_MEMORY);
    assert_true(why.bytes_asked == bytes && why.bytes_free > 0);
    assert_true(kernels_cuda()->allocate(0, MEMORY_DEVICE, 1 << 20, &memory, &why));
    kernels_cuda()->release(0, MEMORY_DEVICE, memory, 1 << 20);
}

int main(void) {
    const struct CMUnitTest tests[] = {
            cmocka_unit_test(initial_weights_are_the_cpus),
            cmocka_unit_test(fp32_gradients_are_the_cpus),
            cmocka_unit_test(tf32_gradients_are_near_fp32),
            cmocka_unit_test(low_precision_gradients_are_near_the_cpus),
            cmocka_unit_test(fp32_training_follows_the_cpu),
            cmocka_unit_test(repeats_graphs_and_checkpointing_change_no_bit),
            cmocka_unit_test(accumulating_graphs_change_no_bit),
            cmocka_unit_test(overflowing_fp16_step_is_skipped_within_a_graph),
            cmocka_unit_test(fills_of_a_graph_reach_their_bytes),
            cmocka_unit_test(memory_stays_within_the_plan),
            cmocka_unit_test(instrumented_steps_tell_phases_with_and_without_graphs),
            cmocka_unit_test(every_op_is_timed_with_and_without_graphs),
            cmocka_unit_test(more_memory_than_the_device_has_is_refused),
    };
    if (kernels_cuda()->device_count() == 0) {
        fprintf(stderr, "there is no GPU here\n");
        return NO_GPU;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}

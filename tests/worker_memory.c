#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/helpers/cell.h"
#include "worker/program.h"

/* -- the planner alone ---------------------------------------------------------------
 */

static int floats(struct program *p, enum memory_owner owner, int64_t count) {
    return program_tensor(p, owner, "t", program_shape(DTYPE_F32, count, 0, 0, 0));
}

static void copy(struct program *p, int to, int from) {
    program_add(p, OP_GELU_FORWARD, (struct operands){{to, from}});
}

static void tensors_alive_at_once_never_overlap(void **state) {
    (void)state;
    struct program p;
    struct memory_plan plan;
    enum { COUNT = 60 };
    int ids[COUNT];
    program_init(&p);
    for (int i = 0; i < COUNT; i++) {
        ids[i] = floats(&p, OWNER_ACTIVATIONS, 1 + (i * 37) % 300);
    }
    for (int i = 0; i < 400; i++) {
        copy(&p, ids[(i * 7 / 10) % COUNT], ids[(i * i / 300) % COUNT]);
    }
    memory_plan(&p, 0, &plan);
    for (int a = 0; a < COUNT; a++) {
        for (int b = 0; b < a; b++) {
            const struct program_tensor *x = &p.tensors[ids[a]],
                                        *y = &p.tensors[ids[b]];
            bool together = x->first >= 0 && y->first >= 0 && x->first <= y->last &&
                            y->first <= x->last;
            int64_t x_end = x->offset + (int64_t)tensor_bytes(&x->tensor);
            int64_t y_end = y->offset + (int64_t)tensor_bytes(&y->tensor);
            assert_true(!together || x_end <= y->offset || y_end <= x->offset);
            assert_true(x_end <= plan.bytes[OWNER_ACTIVATIONS]);
            assert_int_equal(x->offset % MEMORY_ALIGN, 0);
        }
    }
    program_finish(&p);
}

static void a_chain_needs_two_tensors_only(void **state) {
    (void)state;
    struct program p;
    struct memory_plan plan;
    program_init(&p);
    int previous = floats(&p, OWNER_ACTIVATIONS, 1024);
    program_add(&p, OP_ZERO, (struct operands){{previous}});
    for (int i = 0; i < 10; i++) {
        int next = floats(&p, OWNER_ACTIVATIONS, 1024);
        copy(&p, next, previous);
        previous = next;
    }
    memory_plan(&p, 0, &plan);
    assert_int_equal(plan.bytes[OWNER_ACTIVATIONS], 2 * 4096);
    memory_plan(&p, MEMORY_RED_ZONE, &plan);
    assert_int_equal(plan.bytes[OWNER_ACTIVATIONS], 2 * (4096 + MEMORY_RED_ZONE));
    program_finish(&p);
}

static void a_view_keeps_what_it_looks_at_alive(void **state) {
    (void)state;
    struct program p;
    struct memory_plan plan;
    program_init(&p);
    int a = floats(&p, OWNER_ACTIVATIONS, 64), b = floats(&p, OWNER_ACTIVATIONS, 64);
    int c = floats(&p, OWNER_ACTIVATIONS, 64);
    int half = program_view(&p, a, 128, program_shape(DTYPE_F32, 32, 0, 0, 0));
    program_add(&p, OP_ZERO, (struct operands){{a}});
    copy(&p, b, b);
    copy(&p, c, half);
    memory_plan(&p, 0, &plan);
    assert_true(p.tensors[a].offset != p.tensors[b].offset);
    assert_true(p.tensors[a].offset != p.tensors[c].offset);
    program_finish(&p);
}

/* -- the plan against what a step touches --------------------------------------------
 */

/* After a step and an evaluation the marks are where the plan says. */
static void check(const char *words) {
    struct cell c;
    struct engine_memory memory;
    struct text err = {0};
    double loss, correct;
    cell_init(&c, kernels_cpu(), words);
    c.options.poison = true;
    cell_start(&c);
    cell_step(&c, 0, 1e-3);
    assert_true(engine_evaluate(c.engine, c.inputs, c.targets, &loss, &correct, &err));
    assert_true(engine_memory(c.engine, &memory, &err));
    for (int i = 0; i < OWNER_COUNT; i++) {
        // In builds with assertions the arena ends with a red zone, which stays poison.
        int64_t planned = memory.planned[i], measured = memory.measured[i];
#ifndef NDEBUG
        planned -= i == OWNER_ACTIVATIONS ? MEMORY_RED_ZONE : 0;
#endif
        // The activations may end in a product's scratch, which is planned for the
        // largest of its three directions: the last 64 bytes of another stay unused.
        int64_t spare = i == OWNER_ACTIVATIONS ? 64 : 0;
        if (measured > planned || measured < planned - spare) {
            fail_msg("'%s': %s planned %ld, measured %ld", words,
                    memory_owner_name((enum memory_owner)i), (long)planned,
                    (long)measured);
        }
    }
    int64_t all = 0;
    for (int i = 0; i < OWNER_COUNT; i++) {
        all += memory.planned[i];
    }
    assert_true(memory.forward_bytes > 0 && memory.forward_bytes <= all);
    assert_true(memory.backward_bytes > 0 && memory.backward_bytes <= all);
    cell_destroy(&c);
}

static void high_water_is_the_plan_for_every_technique(void **state) {
    (void)state;
    static const char *const archs[] = {"gpt", "llama"};
    static const char *const kernels[] = {"naive", "fused", "flash"};
    static const char *const precisions[] = {"fp32", "bf16", "fp16"};
    static const char *const techniques[] = {"", "recompute=act", "recompute=act_norm",
            "checkpoint=block",
            "checkpoint=block checkpoint_every=2 recompute=act_norm", "accumulate=2",
            "window=5", "threads=2"};
    for (int a = 0; a < 2; a++) {
        for (int k = 0; k < 3; k++) {
            for (int p = 0; p < 3; p++) {
                for (size_t t = 0; t < sizeof techniques / sizeof *techniques; t++) {
                    char words[256];
                    snprintf(words, sizeof words,
                            "layers=3 arch=%s kernel=%s precision=%s %s", archs[a],
                            kernels[k], precisions[p], techniques[t]);
                    check(words);
                }
            }
        }
    }
}

static int64_t activations(const char *words) {
    struct cell c;
    struct engine_memory plan;
    struct text err = {0};
    bool unsupported;
    cell_init(&c, kernels_cpu(), words);
    assert_true(engine_plan(&c.options, &plan, &unsupported, &err));
    assert_int_equal(plan.measured[OWNER_ACTIVATIONS], -1);
    cell_destroy(&c);
    return plan.planned[OWNER_ACTIVATIONS];
}

#define DEEP "layers=8 d_model=64 d_ff=256 seq_len=32 batch=4 kernel=flash "

static void techniques_that_save_memory_do(void **state) {
    (void)state;
    static const char *const archs[] = {"arch=gpt ", "arch=llama "};
    for (int i = 0; i < 2; i++) {
        static const char *const ladder[] = {DEEP "recompute=none",
                DEEP "recompute=act", DEEP "recompute=act_norm",
                DEEP "checkpoint=block checkpoint_every=4",
                DEEP "checkpoint=block checkpoint_every=2"};
        int64_t last = INT64_MAX;
        for (size_t k = 0; k < sizeof ladder / sizeof *ladder; k++) {
            char words[256];
            snprintf(words, sizeof words, "%s%s", archs[i], ladder[k]);
            int64_t bytes = activations(words);
            assert_true(bytes < last);
            last = bytes;
        }
        assert_true(activations(DEEP "precision=bf16") < activations(DEEP));
    }
}

static void gpt_block_keeps_what_the_formula_says(void **state) {
    (void)state;
    // Per layer and token: 16, 12 or 10 values of d_model (nothing, GELU, GELU and
    // norms recomputed), statistics, and attention's state.
    static const char *const recompute[] = {"none", "act", "act_norm"};
    static const int64_t units[] = {16, 12, 10};
    for (int i = 0; i < 3; i++) {
        int64_t bytes[2];
        for (int k = 0; k < 2; k++) {
            char words[256];
            snprintf(words, sizeof words,
                    "arch=gpt d_model=64 d_ff=256 seq_len=32 batch=4 kernel=flash "
                    "layers=%d recompute=%s",
                    10 + k, recompute[i]);
            bytes[k] = activations(words);
        }
        int64_t rows = 32 * 4,
                attention_most = rows * 4 * 4; // one F32 a head and token
        int64_t values = rows * 64 * units[i] * 4 + 4 * rows * 4;
        assert_true(bytes[1] - bytes[0] >= values);
        assert_true(bytes[1] - bytes[0] <= values + attention_most + 4096);
    }
}

static void a_write_past_the_plan_is_measured(void **state) {
    (void)state;
    struct cell c;
    struct kernel_error why = {0};
    struct text err = {0};
    struct memory memory;
    int64_t planned[OWNER_COUNT] = {1000, 1000, 1000, 1000, 1000, 1000};
    const bool unshared[OWNER_COUNT] = {0};
    int64_t measured[OWNER_COUNT];
    cell_init(&c, kernels_cpu(), "");
    struct device_access access = {kernels_cpu(), c.stream, 0};
    assert_true(
            memory_init(&memory, &access, planned, unshared, NULL, true, &why, &err));
    memset(memory.arenas[OWNER_PARAMS], 0, 1000);
    memset(memory.arenas[OWNER_GRADS], 0, 999);
    memset(memory.arenas[OWNER_SCRATCH], 0, 1003);
    assert_true(memory_measure(&memory, measured, &err));
    assert_int_equal(measured[OWNER_PARAMS], 1000);
    assert_int_equal(measured[OWNER_GRADS], 999);
    assert_int_equal(measured[OWNER_SCRATCH], 1003);
    assert_int_equal(measured[OWNER_ACTIVATIONS], 0);
    memory_finish(&memory);
    cell_destroy(&c);
}

/* A kernel that overruns its output by one element. */
static bool overrunning_gelu(struct stream *stream, struct tensor *out,
        const struct tensor *in, struct kernel_error *err) {
    (void)err;
    ((float *)out->data)[tensor_count(out)] = 0;
    return kernels_cpu()->gelu_forward(stream, out, in, err);
}

static void red_zones_name_the_op_that_overruns(void **state) {
    (void)state;
    struct cell c;
    struct text err = {0};
    struct kernels table = *kernels_cpu();
    table.gelu_forward = overrunning_gelu;
    cell_init(&c, &table, "arch=gpt");
    c.options.red_zones = true;
    cell_start(&c);
    cell_batch(&c, 0);
    assert_false(engine_step(c.engine, c.inputs, c.targets, 0, &err));
    assert_non_null(strstr(text_get(&err), "'gelu_forward'"));
    assert_non_null(strstr(text_get(&err), "4 bytes past the end of 'active'"));
    text_finish(&err);
    cell_destroy(&c);
}

/* -- what a wrapper costs ------------------------------------------------------------
 */

static void plan_of(const char *words, int world, struct engine_memory *out) {
    struct cell c;
    struct text err = {0};
    bool unsupported = false;
    cell_init(&c, kernels_cpu(), words);
    c.options.world = world;
    assert_true(engine_plan(&c.options, out, &unsupported, &err));
    cell_destroy(&c);
}

static void naive_flat_and_bucketed_cost_no_byte(void **state) {
    (void)state;
    static const char *const bases[] = {"arch=gpt precision=bf16 layers=4",
            "arch=gpt layers=4 accumulate=2", "arch=llama precision=fp16 layers=3",
            "arch=gpt layers=6 batch=4 checkpoint=block recompute=act"};
    static const char *const wrappers[] = {"ddp=naive", "ddp=flat",
            "ddp=bucketed bucket_mb=0.01", "ddp=bucketed bucket_mb=100"};
    for (int b = 0; b < 4; b++) {
        struct engine_memory alone, wrapped;
        plan_of(bases[b], 1, &alone);
        for (int w = 0; w < 4; w++) {
            char words[128];
            snprintf(words, sizeof words, "%s ranks=2 %s", bases[b], wrappers[w]);
            plan_of(words, 2, &wrapped);
            assert_memory_equal(alone.planned, wrapped.planned, sizeof alone.planned);
        }
    }
}

/* Of fp32 master, first and second moment a rank holds its share, rounded up to whole
 * chunks of the norm's; everything else stays. */
static void sharded_saves_the_others_share_of_the_state(void **state) {
    (void)state;
    static const char base[] = "arch=llama d_model=256 heads=4 d_ff=512 precision=bf16";
    struct engine_memory alone, sharded;
    plan_of(base, 1, &alone);
    for (int world = 2; world <= 8; world *= 2) {
        char words[128];
        snprintf(words, sizeof words, "%s ranks=%d ddp=sharded", base, world);
        plan_of(words, world, &sharded);
        int64_t unit = (int64_t)NORM_CHUNK * world;
        int64_t elements = alone.planned[OWNER_OPTIMIZER] / 12;
        int64_t padded = (elements + unit - 1) / unit * unit;
        assert_int_equal(sharded.planned[OWNER_OPTIMIZER], padded / world * 12);
        assert_int_equal(sharded.planned[OWNER_PARAMS], padded * 2);
        int64_t sums = (padded / NORM_CHUNK + 3) / 4 * 16; // behind the gradients
        assert_int_equal(sharded.planned[OWNER_GRADS], padded * 2 + sums);
        assert_int_equal(
                sharded.planned[OWNER_ACTIVATIONS], alone.planned[OWNER_ACTIVATIONS]);
        // Flags of padding's blocks, and the numbers of the rank's chunks.
        int64_t more = sharded.planned[OWNER_LIBRARY] - alone.planned[OWNER_LIBRARY];
        int64_t least = (padded - elements) / ADAMW_BLOCK + padded / unit * 4;
        assert_true(more >= least && more < least + 2 * MEMORY_ALIGN);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
            cmocka_unit_test(tensors_alive_at_once_never_overlap),
            cmocka_unit_test(a_chain_needs_two_tensors_only),
            cmocka_unit_test(a_view_keeps_what_it_looks_at_alive),
            cmocka_unit_test(high_water_is_the_plan_for_every_technique),
            cmocka_unit_test(techniques_that_save_memory_do),
            cmocka_unit_test(gpt_block_keeps_what_the_formula_says),
            cmocka_unit_test(a_write_past_the_plan_is_measured),
            cmocka_unit_test(naive_flat_and_bucketed_cost_no_byte),
            cmocka_unit_test(sharded_saves_the_others_share_of_the_state),
            cmocka_unit_test(red_zones_name_the_op_that_overruns),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

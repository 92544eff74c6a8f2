/* The matrix files that we ship say what they are meant to say. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "matrix/cell.h"
#include "worker/comm_nccl.h"

static const char *const paths[] = {"matrix/lm_matrix.yaml",
        "matrix/optimizations.yaml", "matrix/smoke.yaml", "matrix/sweeps.yaml",
        "matrix/faults.yaml", "matrix/peers.yaml", "matrix/shakespeare.yaml",
        "matrix/gpu_smoke.yaml", "matrix/numerics.yaml", "matrix/allreduce.yaml",
        "matrix/scaling.yaml"};
enum { AUTOMATIC = 4, ALL = sizeof paths / sizeof *paths };

static struct document *documents[ALL];

static int read_all(void **state) {
    (void)state;
    struct text err = {0};
    for (int i = 0; i < ALL; i++) {
        documents[i] = document_read(paths[i], &err);
        if (!documents[i]) {
            fprintf(stderr, "%s\n", text_get(&err));
            return 1;
        }
    }
    return 0;
}

static int destroy_all(void **state) {
    (void)state;
    for (int i = 0; i < ALL; i++) {
        document_destroy(documents[i]);
    }
    return 0;
}

static struct cells expand(struct document *const *d, size_t count,
        const char *const *tags, const char *const *only, const char *const *skip,
        struct text *err) {
    struct cells cells;
    struct selection selection = {.tags = tags, .only = only, .skip = skip};
    if (!cells_expand(d, count, &selection, &cells, err)) {
        assert_true(err->size > 0);
    }
    return cells;
}

static void every_file_opens_with_its_question(void **state) {
    (void)state;
    for (int i = 0; i < ALL; i++) {
        assert_non_null(strchr(document_description(documents[i]), '?'));
        assert_int_equal(document_manual(documents[i]), i >= AUTOMATIC);
        FILE *file = fopen(paths[i], "r");
        assert_non_null(file);
        char line[200];
        bool asked = false;
        while (!asked && fgets(line, sizeof line, file) && *line == '#') {
            asked = strchr(line, '?') != NULL;
        }
        assert_true(asked);
        fclose(file);
    }
}

static void check_ids(const char *const *tags, const char *const *only,
        const char *const *skip, const char *expected) {
    struct text err = {0}, found = {0};
    struct cells cells = expand(documents, AUTOMATIC, tags, only, skip, &err);
    for (size_t i = 0; i < cells.count; i++) {
        if (cells.items[i].selected) {
            text_addf(&found, "%s ", cells.items[i].id);
        }
    }
    assert_string_equal(text_get(&found), expected);
    cells_finish(&cells);
    text_finish(&found);
    text_finish(&err);
}

static void selections_of_the_contract_list_exactly_those_cells(void **state) {
    (void)state;
    static const char *const sweeps[] = {"seq_len", "bs_fp16", NULL};
    check_ids(sweeps, NULL, NULL,
            "seq_len/seq_len=128 seq_len/seq_len=256 seq_len/seq_len=512 "
            "seq_len/seq_len=1024 seq_len/seq_len=2048 bs_fp16/batch=4 bs_fp16/batch=8 "
            "bs_fp16/batch=16 bs_fp16/batch=32 ");
    static const char *const only[] = {"baseline", "bf16", NULL};
    static const char *const skip[] = {"window_256", NULL};
    check_ids(NULL, only, skip, "baseline bf16 ");
    static const char *const opts[] = {"opts", "vanilla_opts", NULL};
    check_ids(opts, NULL, NULL,
            "baseline bf16 flash_attn window_512 window_256 grad_checkpoint "
            "bf16_gradcp "
            "flash_gradcp vanilla_baseline vanilla_gradient_checkpointing "
            "opt_flash_attention ");
}

static void unknown_tag_names_the_nearest(void **state) {
    (void)state;
    struct text err = {0};
    static const char *const tags[] = {"nosuch", NULL};
    struct cells cells = expand(documents, AUTOMATIC, tags, NULL, NULL, &err);
    assert_null(cells.items);
    assert_non_null(strstr(text_get(&err), "--tags: found 'nosuch'"));
    assert_non_null(strstr(text_get(&err), "; nearest is '"));
    text_finish(&err);
}

static void smoke_covers_kernels_wrappers_precisions_and_checkpoints(void **state) {
    (void)state;
    struct text err = {0};
    struct cells cells = expand(&documents[2], 1, NULL, NULL, NULL, &err);
    int seen[3][3][2] = {0}, checkpointed = 0, llamas = 0;
    for (size_t i = 0; i < cells.count; i++) {
        const struct cell *cell = &cells.items[i];
        const struct params *p = &cell->params;
        assert_null(cell->excluded);
        assert_int_equal(params_integer(p, PARAM_THREADS), 1);
        bool plain = params_integer(p, PARAM_CHECKPOINT) == CHECKPOINT_NONE &&
                     params_integer(p, PARAM_ARCH) == ARCH_GPT;
        checkpointed += params_integer(p, PARAM_CHECKPOINT) == CHECKPOINT_BLOCK;
        llamas += params_integer(p, PARAM_ARCH) == ARCH_LLAMA;
        int64_t ddp = params_integer(p, PARAM_DDP);
        if (plain) {
            seen[params_integer(p, PARAM_KERNEL)][ddp == DDP_BUCKETED ? 2 : ddp]
                [params_integer(p, PARAM_PRECISION) == PRECISION_BF16]++;
        }
    }
    for (int i = 0; i < 18; i++) {
        assert_int_equal(seen[i / 6][i / 2 % 3][i % 2], 1);
    }
    assert_true(cells.count >= 24);
    assert_true(checkpointed >= 6);
    assert_true(llamas >= 2);
    cells_finish(&cells);
}

static void faults_covers_every_inject_on_one_and_two_ranks(void **state) {
    (void)state;
    static const int expected[] = {-1, STATUS_CRASHED, STATUS_CRASHED, STATUS_FAILED,
            STATUS_HANG, STATUS_TIMEOUT, STATUS_OOM_HOST, STATUS_OOM_DEVICE,
            STATUS_INVALID, STATUS_FAILED, STATUS_OK, STATUS_CRASHED};
    struct text err = {0};
    static const char *const kinds[] = {"kinds", NULL};
    struct cells cells = expand(&documents[4], 1, kinds, NULL, NULL, &err);
    int seen[INJECT_DEVICE_FAULT + 1][3] = {0};
    for (size_t i = 0; i < cells.count; i++) {
        const struct params *p = &cells.items[i].params;
        int64_t inject = params_integer(p, PARAM_INJECT);
        if (!cells.items[i].selected) {
            continue;
        }
        assert_int_equal(params_integer(p, PARAM_INJECT_PHASE), INJECT_PHASE_STEP);
        seen[inject][params_integer(p, PARAM_RANKS)]++;
        assert_int_equal(cells.items[i].expect, expected[inject]);
        assert_null(cells.items[i].excluded);
    }
    for (int i = INJECT_SEGV; i <= INJECT_DEVICE_FAULT; i++) {
        assert_int_equal(seen[i][1], 1);
        assert_int_equal(seen[i][2], 1);
    }
    cells_finish(&cells);
}

static void faults_kills_and_hangs_a_rank_in_every_phase_and_wrapper(void **state) {
    (void)state;
    struct text err = {0};
    struct cells cells = expand(&documents[4], 1, NULL, NULL, NULL, &err);
    bool phases[2][INJECT_PHASE_END + 1] = {0}, wrappers[2][DDP_SHARDED + 1] = {0};
    bool spoilt[DDP_SHARDED + 1] = {0};
    for (size_t i = 0; i < cells.count; i++) {
        const struct params *p = &cells.items[i].params;
        int64_t inject = params_integer(p, PARAM_INJECT);
        bool hangs = inject == INJECT_HANG || inject == INJECT_STALL;
        assert_null(cells.items[i].excluded);
        if (params_integer(p, PARAM_RANKS) == 2 && (hangs || inject == INJECT_SEGV)) {
            phases[hangs][params_integer(p, PARAM_INJECT_PHASE)] = true;
            wrappers[hangs][params_integer(p, PARAM_DDP)] = true;
        }
        spoilt[params_integer(p, PARAM_DDP)] |= inject == INJECT_NAN;
    }
    for (int hangs = 0; hangs < 2; hangs++) {
        for (int phase = 0; phase <= INJECT_PHASE_END; phase++) {
            assert_true(phases[hangs][phase]);
        }
        for (int ddp = DDP_NAIVE; ddp <= DDP_SHARDED; ddp++) {
            assert_true(wrappers[hangs][ddp] && spoilt[ddp]);
        }
    }
    cells_finish(&cells);
}

static void lm_matrix_is_every_kernel_with_every_wrapper(void **state) {
    (void)state;
    struct text err = {0};
    struct cells cells = expand(&documents[0], 1, NULL, NULL, NULL, &err);
    int seen[KERNEL_CUDNN + 1][DDP_SHARDED + 1] = {0}, torch = 0, compiled = 0;
    for (size_t i = 0; i < cells.count; i++) {
        const struct params *p = &cells.items[i].params;
        int64_t engine = params_integer(p, PARAM_ENGINE);
        torch += engine == ENGINE_TORCH;
        compiled += engine == ENGINE_TORCH_COMPILE;
        if (engine == ENGINE_NATIVE) {
            seen[params_integer(p, PARAM_KERNEL)][params_integer(p, PARAM_DDP)]++;
        }
        assert_int_equal(params_integer(p, PARAM_LAYERS), 24);
        assert_int_equal(params_integer(p, PARAM_D_FF), 4096);
        assert_null(cells.items[i].excluded);
    }
    for (int i = 0; i < 20; i++) {
        assert_int_equal(seen[i / 5][i % 5], 1);
    }
    assert_int_equal(torch, 12);
    assert_int_equal(compiled, 6);
    cells_finish(&cells);
}

/* Where efficiency is to be told, there must be something to tell it against. */
static void every_scaled_cell_has_its_one_rank_cell(void **state) {
    (void)state;
    static const enum param varies[] = {PARAM_RANKS, PARAM_DDP, PARAM_BUCKET_MB};
    struct text err = {0};
    struct params defaults;
    params_init(&defaults);
    for (int file = 0; file < 2; file++) {
        struct document *d = documents[file ? ALL - 1 : 0];
        struct cells cells = expand(&d, 1, NULL, NULL, NULL, &err);
        int scaled = 0;
        for (size_t i = 0; i < cells.count; i++) {
            struct params alone = cells.items[i].params;
            for (int v = 0; v < 3; v++) {
                alone.values[varies[v]] = defaults.values[varies[v]];
            }
            char hash[13];
            params_hash(&alone, hash);
            bool found = params_integer(&cells.items[i].params, PARAM_RANKS) == 1;
            scaled += !found;
            for (size_t j = 0; !found && j < cells.count; j++) {
                struct params other = cells.items[j].params;
                char own[13];
                other.values[PARAM_BUCKET_MB] = defaults.values[PARAM_BUCKET_MB];
                params_hash(&other, own);
                found = !strcmp(own, hash);
            }
            assert_true(found);
        }
        assert_true(scaled > 0);
        cells_finish(&cells);
    }
}

/* What two experiments share would run twice, and a table show one of the two. */
static void cells_that_scale_are_there_once(void **state) {
    (void)state;
    struct text err = {0};
    static const int files[] = {0, ALL - 2, ALL - 1};
    for (size_t file = 0; file < sizeof files / sizeof *files; file++) {
        struct cells cells = expand(&documents[files[file]], 1, NULL, NULL, NULL, &err);
        assert_true(cells.count > 0);
        for (size_t i = 0; i < cells.count; i++) {
            for (size_t j = 0; j < i; j++) {
                assert_string_not_equal(cells.items[i].hash, cells.items[j].hash);
            }
        }
        cells_finish(&cells);
    }
}

/* As many at most as a sum gets beside computation, and no fixed number. */
static void a_curve_is_measured_as_beside_computation(void **state) {
    (void)state;
    struct text err = {0};
    char most[64];
    snprintf(most, sizeof most, "\"NCCL_MAX_CTAS\":\"%d\"", COMM_NCCL_CTAS);
    static const char *const beside[] = {"beside", NULL};
    struct cells cells = expand(&documents[ALL - 2], 1, beside, NULL, NULL, &err);
    int selected = 0;
    for (size_t i = 0; i < cells.count; i++) {
        const char *env = params_text(&cells.items[i].params, PARAM_ENV);
        if (cells.items[i].selected) {
            assert_non_null(strstr(env, most));
            assert_non_null(strstr(env, "\"NCCL_SYM_CTAS\":\"0\""));
            selected++;
        }
    }
    assert_int_equal(selected, 6);
    cells_finish(&cells);
}

int main(void) {
    const struct CMUnitTest tests[] = {
            cmocka_unit_test(every_file_opens_with_its_question),
            cmocka_unit_test(selections_of_the_contract_list_exactly_those_cells),
            cmocka_unit_test(unknown_tag_names_the_nearest),
            cmocka_unit_test(smoke_covers_kernels_wrappers_precisions_and_checkpoints),
            cmocka_unit_test(faults_covers_every_inject_on_one_and_two_ranks),
            cmocka_unit_test(faults_kills_and_hangs_a_rank_in_every_phase_and_wrapper),
            cmocka_unit_test(lm_matrix_is_every_kernel_with_every_wrapper),
            cmocka_unit_test(every_scaled_cell_has_its_one_rank_cell),
            cmocka_unit_test(a_curve_is_measured_as_beside_computation),
            cmocka_unit_test(cells_that_scale_are_there_once),
    };
    return cmocka_run_group_tests(tests, read_all, destroy_all);
}

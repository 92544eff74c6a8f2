#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "matrix/file.h"
#include "tests/helpers/cell.h"
#include "worker/checkpoint.h"
#include "worker/safetensors.h"

static char path[64];

static int make_path(void **state) {
    (void)state;
    snprintf(path, sizeof path, "/tmp/lm-checkpoint-XXXXXX");
    int fd = mkstemp(path);
    close(fd);
    return fd < 0;
}

static int remove_path(void **state) {
    (void)state;
    return unlink(path);
}

static void weights_survive_the_round_trip(void **state) {
    (void)state;
    static const char *const cases[] = {"arch=gpt kv_heads=2", "arch=llama kv_heads=2",
            "arch=gpt precision=bf16", "arch=llama precision=fp16"};
    for (int i = 0; i < 4; i++) {
        struct cell from, to;
        struct text err = {0};
        char other[128];
        snprintf(other, sizeof other, "%s seed=2", cases[i]);
        cell_create(&from, kernels_cpu(), cases[i]);
        cell_create(&to, kernels_cpu(), other);
        cell_step(&from, 0, 1e-2); // so that biases are not all zero
        assert_true(checkpoint_write(from.engine, path, &err));
        assert_true(checkpoint_read(to.engine, path, &err));
        for (int k = 0; k < engine_parameters(from.engine)->count; k++) {
            double *a = cell_parameter(&from, k), *b = cell_parameter(&to, k);
            assert_memory_equal(a, b,
                    (size_t)engine_parameters(from.engine)->items[k].count * sizeof *a);
            free(a);
            free(b);
        }
        cell_batch(&from, 1);
        double losses[2], correct;
        assert_true(engine_evaluate(
                from.engine, from.inputs, from.targets, &losses[0], &correct, &err));
        assert_true(engine_evaluate(
                to.engine, from.inputs, from.targets, &losses[1], &correct, &err));
        assert_true(losses[0] == losses[1]);
        cell_destroy(&from);
        cell_destroy(&to);
    }
}

static void file_has_the_names_and_layout_of_transformers(void **state) {
    (void)state;
    struct cell c;
    struct safetensors file;
    struct text err = {0};
    cell_create(&c, kernels_cpu(), "arch=gpt d_ff=64");
    assert_true(checkpoint_write(c.engine, path, &err));
    assert_true(safetensors_read(path, &file, &err));
    assert_int_equal(file.count, engine_parameters(c.engine)->count);
    const struct tensor *t =
            safetensors_find(&file, "transformer.h.1.mlp.c_fc.weight"); // [in, out]
    assert_int_equal(t->size[0], 32);
    assert_int_equal(t->size[1], 64);
    int index = parameters_find(
            engine_parameters(c.engine), "transformer.h.1.mlp.c_fc.weight");
    double *ours = cell_parameter(&c, index);
    assert_true(((float *)t->data)[3 * 64 + 5] == (float)ours[5 * 32 + 3]);
    free(ours);
    safetensors_finish(&file);
    cell_destroy(&c);

    cell_create(&c, kernels_cpu(), "arch=llama kv_heads=2 d_ff=48");
    assert_true(checkpoint_write(c.engine, path, &err));
    assert_true(safetensors_read(path, &file, &err));
    assert_int_equal(
            safetensors_find(&file, "model.layers.0.self_attn.q_proj.weight")->size[0],
            32);
    assert_int_equal(
            safetensors_find(&file, "model.layers.0.self_attn.v_proj.weight")->size[0],
            16);
    assert_int_equal(
            safetensors_find(&file, "model.layers.1.mlp.up_proj.weight")->size[0], 48);
    assert_null(safetensors_find(&file, "model.layers.1.mlp.gate_up_proj.weight"));
    assert_non_null(safetensors_find(&file, "lm_head.weight"));
    safetensors_finish(&file);
    cell_destroy(&c);
}

static void a_checkpoint_of_another_model_is_refused_whole(void **state) {
    (void)state;
    struct cell small, large;
    struct text err = {0};
    cell_create(&small, kernels_cpu(), "arch=gpt layers=1");
    cell_create(&large, kernels_cpu(), "arch=gpt layers=2 seed=2");
    assert_true(checkpoint_write(small.engine, path, &err));
    double *before = cell_parameter(&large, 0);
    assert_false(checkpoint_read(large.engine, path, &err));
    assert_non_null(strstr(text_get(&err), "lacks 'transformer.h.1.ln_1.weight'"));
    double *after = cell_parameter(&large, 0);
    assert_memory_equal(before, after, 61 * 32 * sizeof *before);
    text_finish(&err);
    cell_destroy(&small);
    cell_create(&small, kernels_cpu(), "arch=gpt layers=2 vocab=62");
    assert_true(checkpoint_write(small.engine, path, &err));
    assert_false(checkpoint_read(large.engine, path, &err));
    assert_non_null(
            strstr(text_get(&err), "'transformer.wte.weight' has another shape"));
    text_finish(&err);
    free(before);
    free(after);
    cell_destroy(&small);
    cell_destroy(&large);
}

static void every_type_is_read(void **state) {
    (void)state;
    struct cell c;
    struct text err = {0};
    struct safetensors file;
    cell_create(&c, kernels_cpu(), "arch=gpt layers=1");
    assert_true(checkpoint_write(c.engine, path, &err));
    assert_true(safetensors_read(path, &file, &err));
    uint16_t halves[3][32], bits[3] = {0xc500, 0x0001, 0x3c00}; // F16 −5, 2^−24, 1
    double wanted[3] = {-5, 0x1p-24, 1};
    for (int i = 0; i < 3; i++) {
        for (int k = 0; k < 32; k++) {
            halves[i][k] = i == 2 ? 0x3f80 : bits[i]; // the last as BF16
        }
    }
    static const char *const names[] = {"transformer.ln_f.weight",
            "transformer.ln_f.bias", "transformer.h.0.ln_1.bias"};
    for (int i = 0; i < file.count; i++) {
        for (int k = 0; k < 3; k++) {
            if (!strcmp(file.items[i].name, names[k])) {
                file.items[i].tensor.type = k == 2 ? DTYPE_BF16 : DTYPE_F16;
                file.items[i].tensor.data = halves[k];
            }
        }
    }
    assert_true(safetensors_write(path, file.items, file.count, NULL, &err));
    safetensors_finish(&file);
    assert_true(checkpoint_read(c.engine, path, &err));
    for (int k = 0; k < 3; k++) {
        double *values = cell_parameter(
                &c, parameters_find(engine_parameters(c.engine), names[k]));
        assert_true(values[31] == wanted[k]);
        free(values);
    }
    cell_destroy(&c);
}

/* `header` after its length, then `tail` bytes. */
static void must_refuse(const char *header, size_t tail, const char *because) {
    struct text file = {0}, err = {0};
    struct safetensors out;
    unsigned char length[8] = {(unsigned char)strlen(header)};
    text_add_bytes(&file, length, 8);
    text_add(&file, header);
    for (size_t i = 0; i < tail; i++) {
        text_add_bytes(&file, "", 1);
    }
    assert_true(file_write(path, file.data, file.size, &err));
    assert_false(safetensors_read(path, &out, &err));
    if (!strstr(text_get(&err), because)) {
        fail_msg("%s: '%s' does not say '%s'", header, text_get(&err), because);
    }
    text_finish(&file);
    text_finish(&err);
}

static void files_that_make_no_sense_are_refused(void **state) {
    (void)state;
    struct text err = {0};
    struct safetensors out;
    must_refuse("[]", 0, "no JSON object");
    must_refuse("{", 0, "no JSON object");
    must_refuse("{\"a\":{\"dtype\":\"F9\",\"shape\":[1],\"data_offsets\":[0,4]}}", 4,
            "no known dtype");
    must_refuse("{\"a\":{\"dtype\":\"F32\",\"shape\":[-1],\"data_offsets\":[0,4]}}", 4,
            "no valid shape");
    must_refuse("{\"a\":{\"dtype\":\"F32\",\"shape\":[4611686018427387904,4],"
                "\"data_offsets\":[0,0]}}",
            0, "no valid shape");
    must_refuse("{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}", 4,
            "do not lie in the file");
    must_refuse("{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,4]}}", 8,
            "do not lie in the file");
    must_refuse("{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[8,0]}}", 8,
            "do not lie in the file");
    must_refuse("{\"a\":7}", 8, "no known dtype");
    assert_true(file_write(path, "\377\377\377\377\377\377\377\377{}", 10, &err));
    assert_false(safetensors_read(path, &out, &err));
    text_clear(&err);
    assert_true(file_write(path, "abc", 3, &err));
    assert_false(safetensors_read(path, &out, &err));
    text_clear(&err);
    assert_false(safetensors_read("/nonexistent/file", &out, &err));
    assert_true(err.size > 0);
    text_finish(&err);
}

int main(void) {
    const struct CMUnitTest tests[] = {
            cmocka_unit_test(weights_survive_the_round_trip),
            cmocka_unit_test(file_has_the_names_and_layout_of_transformers),
            cmocka_unit_test(a_checkpoint_of_another_model_is_refused_whole),
            cmocka_unit_test(every_type_is_read),
            cmocka_unit_test(files_that_make_no_sense_are_refused),
    };
    return cmocka_run_group_tests(tests, make_path, remove_path);
}

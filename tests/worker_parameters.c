#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/helpers/cell.h"
#include "worker/optimizer.h"
#include "worker/parameters.h"

static struct parameters list(const char *words, int64_t vocab) {
    struct params params;
    struct text err = {0};
    struct parameters out;
    assert_true(cell_parse(&params, words, &err));
    parameters_init(&out, &params, vocab, 1);
    return out;
}

/* GPT-2's published sizes: 124,439,808 parameters. */
static void gpt2_has_as_many_parameters_as_published(void **state) {
    (void)state;
    struct parameters p = list("arch=gpt layers=12 d_model=768 heads=12 d_ff=3072 "
                               "seq_len=1024",
            50257);
    assert_int_equal(p.trained, 124439808);
    assert_int_equal(p.count, 2 + 12 * 12 + 2);
    assert_true(parameters_find(&p, "transformer.h.11.mlp.c_proj.bias") > 0);
    assert_int_equal(parameters_find(&p, "lm_head.weight"), -1); // tied
    parameters_finish(&p);
}

/* Llama 2 7B's: 6,738,415,616. */
static void llama_has_as_many_parameters_as_published(void **state) {
    (void)state;
    struct parameters p =
            list("arch=llama layers=32 d_model=4096 heads=32 d_ff=11008", 32000);
    assert_int_equal(p.trained, INT64_C(6738415616));
    int head = parameters_find(&p, "lm_head.weight");
    assert_int_equal(head, p.count - 1);
    assert_int_equal(p.items[head].size[0], 32000);
    parameters_finish(&p);
}

static void grouped_heads_shrink_the_qkv_product(void **state) {
    (void)state;
    struct parameters p = list("arch=llama d_model=32 heads=4 kv_heads=2", 61);
    int qkv = parameters_find(&p, "model.layers.1.self_attn.qkv_proj.weight");
    assert_int_equal(p.items[qkv].size[0], (4 + 2 * 2) * 8);
    assert_int_equal(p.items[qkv].size[1], 32);
    parameters_finish(&p);
}

static void parameters_lie_in_layer_order_without_overlap(void **state) {
    (void)state;
    static const char *const archs[] = {"arch=gpt d_ff=51", "arch=llama d_ff=51"};
    for (int i = 0; i < 2; i++) {
        struct parameters p = list(archs[i], 67);
        int64_t end = 0, trained = 0;
        for (int k = 0; k < p.count; k++) {
            const struct parameter *it = &p.items[k];
            int64_t shape = it->rank == 2 ? it->size[0] * it->size[1] : it->size[0];
            assert_int_equal(it->count, shape);
            assert_int_equal(it->offset % PARAMETER_ALIGN, 0);
            assert_true(it->offset >= end && it->offset - end < PARAMETER_ALIGN);
            assert_int_equal(parameters_find(&p, it->name), k);
            assert_int_equal(it->decay, it->rank == 2);
            end = it->offset + it->count;
            trained += it->count;
        }
        assert_true(p.elements >= end && p.elements - end < PARAMETER_ALIGN);
        assert_int_equal(p.elements % PARAMETER_ALIGN, 0);
        assert_int_equal(p.trained, trained);
        parameters_finish(&p);
    }
}

static void moments(const struct parameter *p, double *mean, double *deviation) {
    float *values = text_allocate((size_t)p->count * sizeof *values);
    double sum = 0, squares = 0;
    parameters_fill(p, 7, values);
    for (int64_t i = 0; i < p->count; i++) {
        assert_true(isfinite(values[i]));
        sum += values[i];
        squares += (double)values[i] * values[i];
    }
    *mean = sum / (double)p->count;
    *deviation = sqrt(squares / (double)p->count - *mean * *mean);
    free(values);
}

static void initial_weights_have_the_deviation_promised(void **state) {
    (void)state;
    struct parameters p = list("arch=gpt layers=8 d_model=256 heads=4 d_ff=1024", 300);
    static const char *const names[] = {"transformer.wte.weight",
            "transformer.h.3.attn.c_attn.weight", "transformer.h.3.mlp.c_proj.weight"};
    static const double expected[] = {0.02, 0.02, 0.02 / 4};
    for (int i = 0; i < 3; i++) {
        const struct parameter *it = &p.items[parameters_find(&p, names[i])];
        double mean, deviation;
        moments(it, &mean, &deviation);
        assert_true(fabs(mean) < 5 * expected[i] / sqrt((double)it->count));
        assert_true(fabs(deviation / expected[i] - 1) < 0.02);
    }
    double mean, deviation;
    moments(&p.items[parameters_find(&p, "transformer.h.0.ln_1.weight")], &mean,
            &deviation);
    assert_true(mean == 1 && deviation == 0);
    moments(&p.items[parameters_find(&p, "transformer.h.0.mlp.c_fc.bias")], &mean,
            &deviation);
    assert_true(mean == 0 && deviation == 0);
    parameters_finish(&p);
}

static void initial_weights_depend_on_seed_and_name_alone(void **state) {
    (void)state;
    struct parameters small = list("arch=gpt layers=1 d_model=32", 61);
    struct parameters large = list("arch=gpt layers=3 d_model=32", 61);
    const char *name = "transformer.h.0.attn.c_attn.weight";
    const struct parameter *a = &small.items[parameters_find(&small, name)];
    const struct parameter *b = &large.items[parameters_find(&large, name)];
    const struct parameter *other =
            &large.items[parameters_find(&large, "transformer.h.1.attn.c_attn.weight")];
    float one[3072], two[3072];
    assert_int_equal(a->count, 3072);
    parameters_fill(a, 7, one);
    parameters_fill(b, 7, two);
    assert_memory_equal(one, two, sizeof one);
    parameters_fill(b, 8, two);
    assert_memory_not_equal(one, two, sizeof one);
    parameters_fill(other, 7, two);
    assert_memory_not_equal(one, two, sizeof one);
    parameters_finish(&small);
    parameters_finish(&large);
}

/* -- the learning rate ---------------------------------------------------------------
 */

static void near(double a, double b) {
    assert_true(fabs(a - b) <= 1e-15);
}

static void cosine_falls_from_lr_to_lr_min_after_warm_up(void **state) {
    (void)state;
    struct params p;
    struct text err = {0};
    assert_true(cell_parse(
            &p, "lr=0.001 lr_min=0.0001 lr_warmup=100 lr_schedule=cosine", &err));
    near(optimizer_lr(&p, 0, 2000), 0.001 / 101);
    near(optimizer_lr(&p, 99, 2000), 0.001 * 100 / 101);
    near(optimizer_lr(&p, 100, 2000), 0.001);
    near(optimizer_lr(&p, 1050, 2000), 0.00055);
    near(optimizer_lr(&p, 2000, 2000), 0.0001);
    near(optimizer_lr(&p, 5000, 2000), 0.0001);
}

static void linear_and_constant_schedules_do_as_they_are_named(void **state) {
    (void)state;
    struct params p;
    struct text err = {0};
    assert_true(cell_parse(
            &p, "lr=0.001 lr_min=0.0002 lr_warmup=0 lr_schedule=linear", &err));
    near(optimizer_lr(&p, 0, 100), 0.001);
    near(optimizer_lr(&p, 25, 100), 0.0008);
    near(optimizer_lr(&p, 100, 100), 0.0002);
    assert_true(cell_parse(&p, "lr=0.001 lr_warmup=3 lr_schedule=constant", &err));
    near(optimizer_lr(&p, 1, 100), 0.0005);
    near(optimizer_lr(&p, 3, 100), 0.001);
    near(optimizer_lr(&p, 1000, 100), 0.001);
}

int main(void) {
    const struct CMUnitTest tests[] = {
            cmocka_unit_test(gpt2_has_as_many_parameters_as_published),
            cmocka_unit_test(llama_has_as_many_parameters_as_published),
            cmocka_unit_test(grouped_heads_shrink_the_qkv_product),
            cmocka_unit_test(parameters_lie_in_layer_order_without_overlap),
            cmocka_unit_test(initial_weights_have_the_deviation_promised),
            cmocka_unit_test(initial_weights_depend_on_seed_and_name_alone),
            cmocka_unit_test(cosine_falls_from_lr_to_lr_min_after_warm_up),
            cmocka_unit_test(linear_and_constant_schedules_do_as_they_are_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

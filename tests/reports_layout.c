/* The forecast's parameters and slices, against those that a worker makes. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "kernels/kernels.h"
#include "reports/layout.h"
#include "tests/helpers/cell.h"
#include "worker/buckets.h"
#include "worker/parameters.h"

static const char *const models[] = {
        "vocab=0 arch=gpt layers=3 d_model=64 heads=4 seq_len=48",
        "vocab=0 arch=llama layers=2 d_model=96 heads=6 kv_heads=2 d_ff=100 seq_len=16",
        "vocab=0 arch=gpt layers=1 d_model=8 heads=1 seq_len=7"};
enum { VOCAB = 301, MODELS = sizeof models / sizeof *models };

static void parse(struct params *params, int model) {
    struct text err = {0};
    if (!cell_parse(params, models[model], &err)) {
        fail_msg("%s", text_get(&err));
    }
}

static void init(int model, struct layout *l, struct parameters *p) {
    struct params params;
    parse(&params, model);
    parameters_init(p, &params, VOCAB, 1);
    layout_init(l, &params, VOCAB, NAN);
}

static void parameters_are_the_workers(void **state) {
    (void)state;
    for (int m = 0; m < MODELS; m++) {
        struct layout l;
        struct parameters p;
        init(m, &l, &p);
        assert_int_equal(l.count, p.count);
        for (int i = 0; i < p.count; i++) {
            assert_int_equal((int64_t)l.offsets[i], p.items[i].offset);
        }
        assert_int_equal((int64_t)layout_elements(&l), p.elements);
        layout_finish(&l);
        parameters_finish(&p);
    }
}

static void a_vocabulary_is_found_by_the_number_of_parameters(void **state) {
    (void)state;
    for (int m = 0; m < MODELS; m++) {
        struct layout l;
        struct parameters p;
        struct params params;
        init(m, &l, &p);
        layout_finish(&l);
        parse(&params, m);
        layout_init(&l, &params, NAN, (double)p.trained);
        assert_int_equal((int)l.vocab, VOCAB);
        layout_finish(&l);
        layout_init(&l, &params, NAN, NAN);
        assert_true(layout_size(&l, 0) == 0);
        layout_finish(&l);
        parameters_finish(&p);
    }
}

/* Of `least` elements, behind `behind` parameters, on multiples of `unit`. */
static void must_be_the_workers(
        int model, int64_t least, int behind, int64_t unit, int *several) {
    struct layout l;
    struct parameters p;
    struct buckets b;
    init(model, &l, &p);
    const struct layout_cut cut = {.behind = behind,
            .least = (double)least,
            .first = (double)least,
            .last = floor((double)least / 8),
            .unit = (double)unit};
    if (unit > 1) {
        parameters_pad(&p, unit);
    }
    struct layout_slices s = layout_slice(&l, &cut);
    buckets_init(&b, &p, p.items[behind].offset, least, least / 8, unit);
    assert_int_equal(s.count, b.count);
    for (int i = 0; i < b.count; i++) {
        assert_int_equal((int64_t)s.items[i].from, b.items[i].from);
        assert_int_equal((int64_t)s.items[i].to, b.items[i].to);
    }
    *several += b.count > 2;
    free(s.items);
    buckets_finish(&b);
    layout_finish(&l);
    parameters_finish(&p);
}

static void slices_are_the_workers(void **state) {
    (void)state;
    assert_int_equal(LAYOUT_CHUNK, NORM_CHUNK);
    int several = 0;
    for (int m = 0; m < MODELS; m++) {
        for (int64_t least = 1; least < 1 << 20; least = least * 3 + 5) {
            must_be_the_workers(m, least, 0, 1, &several);
            must_be_the_workers(m, least, m == 1 ? 1 : 2, 1, &several);
            must_be_the_workers(m, least, 0, 1024, &several);
        }
    }
    assert_true(several > 20);
}

int main(void) {
    const struct CMUnitTest tests[] = {
            cmocka_unit_test(parameters_are_the_workers),
            cmocka_unit_test(a_vocabulary_is_found_by_the_number_of_parameters),
            cmocka_unit_test(slices_are_the_workers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* The parameter table, values from texts and back, hashes, checks. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "matrix/axes.h"

static struct params defaults(void) {
    struct params p;
    params_init(&p);
    return p;
}

static void set(struct params *p, enum param which, const char *text) {
    struct text err = {0};
    if (!params_set(p, which, text, &err)) {
        fail_msg("%s", text_get(&err));
    }
}

static void every_parameter_is_found_by_its_name(void **state) {
    (void)state;
    for (int i = 0; i < PARAM_COUNT; i++) {
        const struct axis *axis = axes_get((enum param)i);
        enum param found = PARAM_COUNT;
        assert_true(axes_find(axis->name, &found));
        assert_int_equal(found, i);
        assert_true(strlen(axis->help) > 0);
        assert_non_null(axis->unit);
    }
    enum param found;
    assert_false(axes_find("lrr", &found));
    assert_string_equal(axes_nearest("lrr"), "lr");
    assert_string_equal(axes_nearest("seqlen"), "seq_len");
    assert_null(axes_nearest("qqqqqqqqqqqqqqqq"));
}

static void choices_match_their_enums(void **state) {
    (void)state;
    struct params p = defaults();
    assert_string_equal(params_choice(&p, PARAM_DETERMINISTIC), "on");
    set(&p, PARAM_KERNEL, "cudnn");
    assert_int_equal(params_integer(&p, PARAM_KERNEL), KERNEL_CUDNN);
    set(&p, PARAM_DDP, "sharded");
    assert_int_equal(params_integer(&p, PARAM_DDP), DDP_SHARDED);
    set(&p, PARAM_INJECT, "orphan");
    assert_int_equal(params_integer(&p, PARAM_INJECT), INJECT_ORPHAN);
    set(&p, PARAM_TASK, "noop");
    assert_int_equal(params_integer(&p, PARAM_TASK), TASK_NOOP);
    set(&p, PARAM_COMPILE_MODE, "max-autotune");
    assert_int_equal(params_integer(&p, PARAM_COMPILE_MODE), COMPILE_MAX_AUTOTUNE);
}

static void every_default_lies_in_its_range_and_reads_back(void **state) {
    (void)state;
    struct params p = defaults(), again = defaults();
    for (int i = 0; i < PARAM_COUNT; i++) {
        struct text shown = {0};
        params_show(&p, (enum param)i, &shown);
        set(&again, (enum param)i, text_get(&shown));
        assert_true(params_is_default(&again, (enum param)i));
        text_finish(&shown);
    }
    struct text err = {0};
    assert_true(params_check(&p, &err));
}

static void texts_become_values_and_values_texts(void **state) {
    (void)state;
    static const struct {
        enum param which;
        const char *text, *shown;
    } rows[] = {
            {PARAM_LAYERS, "12", "12"},
            {PARAM_BATCH, "max", "max"},
            {PARAM_BATCH, "8", "8"},
            {PARAM_LR, "1e-3", "0.001"},
            {PARAM_LR, "0.1", "0.1"},
            {PARAM_LR, "3e-5", "3e-5"},
            {PARAM_LR, "-0", "0"},
            {PARAM_LR, ".5", "0.5"},
            {PARAM_LR, "0.30000000000000004", "0.30000000000000004"},
            {PARAM_MEMORY_LIMIT, "2GiB", "2147483648"},
            {PARAM_MEMORY_LIMIT, "512MiB", "536870912"},
            {PARAM_MEMORY_LIMIT, "1024", "1024"},
            {PARAM_SEED, "9007199254740991", "9007199254740991"},
            {PARAM_SPLIT, "090/10/0", "90/10/0"},
            {PARAM_TOKENIZER, "bytes", "bytes"},
            {PARAM_TOKENIZER, "010000", "10000"},
            {PARAM_TOKENIZER, "my/tokenizer.json", "my/tokenizer.json"},
            {PARAM_DATA, "a.txt,b*.txt", "a.txt,b*.txt"},
            {PARAM_DATA, "tränen.txt", "tränen.txt"},
            {PARAM_ENV, "{ \"B\": \"2\", \"A\": \"1\" }", "{\"A\":\"1\",\"B\":\"2\"}"},
            {PARAM_START_S, "0.5", "0.5"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct params p = defaults();
        set(&p, rows[i].which, rows[i].text);
        struct text shown = {0};
        params_show(&p, rows[i].which, &shown);
        assert_string_equal(text_get(&shown), rows[i].shown);
        text_finish(&shown);
    }
}

static void values_that_are_none_are_refused_in_a_sentence(void **state) {
    (void)state;
    static const struct {
        enum param which;
        const char *text, *sentence;
    } rows[] = {
            {PARAM_PRECISION, "bf61",
                    "found precision 'bf61', expected fp32, tf32, bf16 or fp16; did "
                    "you "
                    "mean 'bf16'?"},
            {PARAM_PRECISION, "int3",
                    "found precision 'int3', expected fp32, tf32, bf16 or fp16"},
            {PARAM_LAYERS, "0", "found layers '0', expected an integer from 1 to 1000"},
            {PARAM_LAYERS, "4.0",
                    "found layers '4.0', expected an integer from 1 to 1000"},
            {PARAM_LAYERS, "-3",
                    "found layers '-3', expected an integer from 1 to 1000"},
            {PARAM_LAYERS, " 3",
                    "found layers ' 3', expected an integer from 1 to 1000"},
            {PARAM_LAYERS, "99999999999999999999",
                    "found layers '99999999999999999999', expected an integer from 1 "
                    "to "
                    "1000"},
            {PARAM_LAYERS, "", "found layers '', expected an integer from 1 to 1000"},
            {PARAM_BATCH, "-1",
                    "found batch '-1', expected an integer from 1 to 1048576, or max"},
            {PARAM_LR, "nan", "found lr 'nan', expected a number from 0 to 1000"},
            {PARAM_LR, "0x10", "found lr '0x10', expected a number from 0 to 1000"},
            {PARAM_LR, "1e999", "found lr '1e999', expected a number from 0 to 1000"},
            {PARAM_LR, "1e-", "found lr '1e-', expected a number from 0 to 1000"},
            {PARAM_LR, "-1", "found lr '-1', expected a number from 0 to 1000"},
            {PARAM_LR, "", "found lr '', expected a number from 0 to 1000"},
            {PARAM_MEMORY_LIMIT, "2GB",
                    "found memory_limit '2GB', expected an integer from 0 to "
                    "9007199254740991 bytes, or a size such as 2GiB"},
            {PARAM_MEMORY_LIMIT, "9000000TiB",
                    "found memory_limit '9000000TiB', expected an integer from 0 to "
                    "9007199254740991 bytes, or a size such as 2GiB"},
            {PARAM_LAYERS, "2GiB",
                    "found layers '2GiB', expected an integer from 1 to 1000"},
            {PARAM_SPLIT, "80/10/5",
                    "found split '80/10/5', expected three percentages such as "
                    "85/10/5"},
            {PARAM_SPLIT, "0/50/50",
                    "found split '0/50/50', expected three percentages such as "
                    "85/10/5"},
            {PARAM_SPLIT, "90/10",
                    "found split '90/10', expected three percentages such as 85/10/5"},
            {PARAM_SPLIT, "85/10/5/0",
                    "found split '85/10/5/0', expected three percentages such as "
                    "85/10/5"},
            {PARAM_TOKENIZER, "bpe",
                    "found tokenizer 'bpe', expected bytes, a vocabulary size from 257 "
                    "to 1000000, or a path ending in .json"},
            {PARAM_TOKENIZER, "256",
                    "found tokenizer '256', expected bytes, a vocabulary size from 257 "
                    "to 1000000, or a path ending in .json"},
            {PARAM_DATA, "a\nb",
                    "found data 'a?b', expected 1 to 1024 printable characters"},
            {PARAM_DATA, "\xff",
                    "found data '\xef\xbf\xbd', expected 1 to 1024 printable "
                    "characters"},
            {PARAM_ENV, "{\"A\": 1}",
                    "found env '{\"A\": 1}', expected a map from variable names to "
                    "texts"},
            {PARAM_ENV, "{\"1A\": \"\"}",
                    "found env '{\"1A\": \"\"}', expected a map from variable names to "
                    "texts"},
            {PARAM_ENV, "{\"LM_RANK\": \"0\"}",
                    "found the variable 'LM_RANK' in env, expected names that do not "
                    "start with LM_, which are the runner's own"},
            {PARAM_ENV, "[]",
                    "found env '[]', expected a map from variable names to "
                    "texts"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct params p = defaults(), before = p;
        struct text err = {0};
        assert_false(params_set(&p, rows[i].which, rows[i].text, &err));
        assert_string_equal(text_get(&err), rows[i].sentence);
        assert_memory_equal(&p, &before, sizeof p);
        text_finish(&err);
    }
}

static void json_keeps_every_value(void **state) {
    (void)state;
    struct params p = defaults(), back;
    set(&p, PARAM_BATCH, "max");
    set(&p, PARAM_LR, "0.1");
    set(&p, PARAM_KERNEL, "flash");
    set(&p, PARAM_SEED, "9007199254740991");
    set(&p, PARAM_ENV, "{\"NCCL_ALGO\":\"Ring\"}");
    set(&p, PARAM_DATA, "a \"b\".txt");
    for (int changed_only = 0; changed_only < 2; changed_only++) {
        struct text err = {0};
        json_t *object = params_to_json(&p, changed_only);
        assert_int_equal(json_object_size(object), changed_only ? 6 : PARAM_COUNT);
        assert_true(params_from_json(&back, object, &err));
        assert_memory_equal(&p, &back, sizeof p); // interned: equal texts, one pointer
        json_decref(object);
    }
}

static void json_of_the_wrong_shape_is_refused(void **state) {
    (void)state;
    static const struct {
        const char *json, *sentence;
    } rows[] = {
            {"[]", "found no object 'params', expected one"},
            {"{\"lrr\": 1}", "unknown parameter 'lrr'"},
            {"{\"lr\": \"1\"}", "found another type for parameter 'lr', expected a "
                                "number from 0 to "
                                "1000"},
            {"{\"layers\": 1.5}",
                    "found another type for parameter 'layers', expected an integer "
                    "from 1 to 1000"},
            {"{\"layers\": 0}", "found layers '0', expected an integer from 1 to 1000"},
            {"{\"env\": \"{}\"}",
                    "found another type for parameter 'env', expected a map from "
                    "variable names to texts"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct text err = {0};
        struct params p;
        json_t *object = json_loads(rows[i].json, 0, NULL);
        assert_non_null(object);
        assert_false(params_from_json(&p, object, &err));
        assert_string_equal(text_get(&err), rows[i].sentence);
        json_decref(object);
        text_finish(&err);
    }
}

static void hash_is_stable_and_takes_only_what_changes_the_cell(void **state) {
    (void)state;
    char hash[13], again[13];
    struct params p = defaults();
    params_hash(&p, hash);
    assert_string_equal(hash, "44136fa355b3"); // of "{}"
    set(&p, PARAM_TIMEOUT_S, "7");
    set(&p, PARAM_START_S, "7");
    set(&p, PARAM_HEARTBEAT_S, "7");
    set(&p, PARAM_REPEATS, "7");
    params_hash(&p, again);
    assert_string_equal(hash, again);
    set(&p, PARAM_LR, "3e-4");
    set(&p, PARAM_BATCH, "max");
    set(&p, PARAM_KERNEL, "flash");
    set(&p, PARAM_LAYERS, "12");
    set(&p, PARAM_ENV, "{\"A\":\"1\"}");
    set(&p, PARAM_DATA, "a\"b");
    params_hash(&p, hash);
    // printf '%s' '{"batch":"max","data":"a\"b","env":{"A":"1"},"kernel":"flash",
    // "layers":12,"lr":0.0003}' (in one line) | sha256sum
    assert_string_equal(hash, "f3c76f918098");
}

static void impossible_combinations_are_refused_in_a_sentence(void **state) {
    (void)state;
    static const struct {
        const char *settings[8]; /* name, value, … */
        const char *sentence;
    } rows[] = {
            {{"heads", "3"}, "found heads 3, expected a divisor of d_model 128"},
            {{"heads", "32"},
                    "found head_dim 4 (d_model 128 / heads 32), expected a multiple of "
                    "8 up to 128"},
            {{"d_model", "1024", "heads", "4"},
                    "found head_dim 256 (d_model 1024 / heads 4), expected a multiple "
                    "of 8 up to 128"},
            {{"kv_heads", "3", "arch", "llama"},
                    "found kv_heads 3, expected a divisor of heads 4"},
            {{"kv_heads", "2"}, "found kv_heads 2 under heads 4 with arch gpt, "
                                "expected arch llama"},
            {{"vocab", "255"},
                    "found vocab 255, expected at least the tokenizer's 256, or 0"},
            {{"vocab", "999", "tokenizer", "1000"},
                    "found vocab 999, expected at least the tokenizer's 1000, or 0"},
            {{"batch", "8", "global_batch", "16"},
                    "found both batch and global_batch, expected one of them"},
            {{"global_batch", "16", "ranks", "3", "accumulate", "2"},
                    "found global_batch 16, expected a multiple of ranks x accumulate "
                    "= 6"},
            {{"steps", "5"}, "found warmup_steps 5, expected fewer than steps 5"},
            {{"lr_min", "0.01"}, "found lr_min 0.01, expected at most lr 0.001"},
            {{"inject", "segv", "inject_rank", "1"},
                    "found inject_rank 1, expected less than ranks 1"},
            {{"kv_heads", "2", "arch", "llama"}, NULL},
            {{"vocab", "10", "tokenizer", "9.json"}, NULL},
            {{"steps", "5", "epochs", "1"}, NULL},
            {{"global_batch", "16", "ranks", "2"}, NULL},
            {{"batch", "max"}, NULL},
            {{"grad", "bf16", "precision", "bf16"}, NULL},
            {{"grad", "bf16", "precision", "fp16"},
                    "found grad bf16 with precision fp16, expected bf16"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct params p = defaults();
        for (const char *const *s = rows[i].settings; *s; s += 2) {
            enum param which;
            assert_true(axes_find(s[0], &which));
            set(&p, which, s[1]);
        }
        struct text err = {0};
        bool ok = params_check(&p, &err);
        assert_int_equal(ok, rows[i].sentence == NULL);
        assert_string_equal(text_get(&err), ok ? "" : rows[i].sentence);
        text_finish(&err);
    }
}

static void zeros_that_stand_for_something_are_resolved(void **state) {
    (void)state;
    struct params p = defaults();
    assert_int_equal(params_kv_heads(&p), params_integer(&p, PARAM_HEADS));
    assert_int_equal(params_d_ff(&p), 4 * params_integer(&p, PARAM_D_MODEL));
    assert_int_equal(params_batch(&p), 12);
    set(&p, PARAM_KV_HEADS, "2");
    set(&p, PARAM_D_FF, "100");
    set(&p, PARAM_GLOBAL_BATCH, "24");
    set(&p, PARAM_RANKS, "2");
    set(&p, PARAM_ACCUMULATE, "3");
    assert_int_equal(params_kv_heads(&p), 2);
    assert_int_equal(params_d_ff(&p), 100);
    assert_int_equal(params_batch(&p), 4);
}

static void equal_texts_are_interned_to_one_pointer(void **state) {
    (void)state;
    char a[] = "same", b[] = "same";
    assert_ptr_equal(axes_intern(a), axes_intern(b));
    assert_ptr_not_equal(axes_intern("other"), axes_intern(b));
}

int main(void) {
    const struct CMUnitTest tests[] = {
            cmocka_unit_test(every_parameter_is_found_by_its_name),
            cmocka_unit_test(choices_match_their_enums),
            cmocka_unit_test(every_default_lies_in_its_range_and_reads_back),
            cmocka_unit_test(texts_become_values_and_values_texts),
            cmocka_unit_test(values_that_are_none_are_refused_in_a_sentence),
            cmocka_unit_test(json_keeps_every_value),
            cmocka_unit_test(json_of_the_wrong_shape_is_refused),
            cmocka_unit_test(hash_is_stable_and_takes_only_what_changes_the_cell),
            cmocka_unit_test(impossible_combinations_are_refused_in_a_sentence),
            cmocka_unit_test(zeros_that_stand_for_something_are_resolved),
            cmocka_unit_test(equal_texts_are_interned_to_one_pointer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

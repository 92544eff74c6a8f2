/* From matrix files to cells: expansion, exclusion, ids, --set, selection. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "matrix/cell.h"

#define MOST_WORDS 8

/* A matrix and words of the command line, and the ids that are selected, one a line:
 * "!" in front of an excluded one, its reason behind. Or the sentence. */
struct row {
    const char *yaml;
    const char *tags[MOST_WORDS], *only[MOST_WORDS], *skip[MOST_WORDS];
    const char *where[MOST_WORDS], *set[MOST_WORDS];
    const char *expected;
};

static void list_selected(const struct cells *cells, struct text *out) {
    for (size_t i = 0; i < cells->count; i++) {
        const struct cell *cell = &cells->items[i];
        if (!cell->selected) {
            continue;
        }
        text_addf(out, "%s%s", cell->excluded ? "!" : "", cell->id);
        if (cell->excluded) {
            text_addf(out, " (%s)", cell->excluded);
        }
        text_add(out, "\n");
    }
}

static void check(const struct row *row) {
    struct text err = {0}, found = {0};
    struct document *d = document_parse("m.yaml", row->yaml, strlen(row->yaml), &err);
    struct selection selection = {.tags = row->tags,
            .only = row->only,
            .skip = row->skip,
            .where = row->where,
            .set = row->set};
    struct cells cells;
    if (d && cells_expand(&d, 1, &selection, &cells, &err)) {
        list_selected(&cells, &found);
        assert_int_equal(err.size, 0);
        cells_finish(&cells);
    } else {
        text_add(&found, text_get(&err));
    }
    assert_string_equal(text_get(&found), row->expected);
    document_destroy(d);
    text_finish(&err);
    text_finish(&found);
}

static void check_all(const struct row *rows, size_t count) {
    for (size_t i = 0; i < count; i++) {
        check(&rows[i]);
    }
}

#define CHECK_ALL(rows) check_all(rows, sizeof(rows) / sizeof *(rows))
#define ONE "experiments:\n- name: e\n"

static void axes_cross_in_file_order(void **state) {
    (void)state;
    static const struct row rows[] = {
            {ONE, .expected = "e\n"},
            {ONE "  batch: 3\n  lr: 0.1\n", .expected = "e\n"},
            {ONE "  axes: {seq_len: [64, 32], batch: [1, 2]}\n",
                    .expected = "e/seq_len=64,batch=1\ne/seq_len=64,batch=2\n"
                                "e/seq_len=32,batch=1\ne/seq_len=32,batch=2\n"},
            // Ids follow the parameter table, cells the file.
            {ONE "  axes: {batch: [1, 2], seq_len: [64, 32]}\n",
                    .expected = "e/seq_len=64,batch=1\ne/seq_len=32,batch=1\n"
                                "e/seq_len=64,batch=2\ne/seq_len=32,batch=2\n"},
            {ONE "  zip: [{layers: [1, 2], heads: [2, 4]}]\n",
                    .expected = "e/layers=1,heads=2\ne/layers=2,heads=4\n"},
            {ONE "  axes: {batch: [7, max]}\n"
                 "  zip: [{layers: [1, 2], heads: [2, 4]}, {lr: [1e-3, 0.5]}]\n",
                    .expected = "e/layers=1,heads=2,batch=7,lr=0.001\n"
                                "e/layers=1,heads=2,batch=7,lr=0.5\n"
                                "e/layers=2,heads=4,batch=7,lr=0.001\n"
                                "e/layers=2,heads=4,batch=7,lr=0.5\n"
                                "e/layers=1,heads=2,batch=max,lr=0.001\n"
                                "e/layers=1,heads=2,batch=max,lr=0.5\n"
                                "e/layers=2,heads=4,batch=max,lr=0.001\n"
                                "e/layers=2,heads=4,batch=max,lr=0.5\n"},
            {ONE "  axes: {env: [{A: x, B: 'y'}, {}]}\n",
                    .expected = "e/env={\"A\":\"x\",\"B\":\"y\"}\ne/env={}\n"},
            {ONE "  axes: {data: [[a.txt, b.txt], c]}\n",
                    .expected = "e/data=a.txt,b.txt\ne/data=c\n"},
            {ONE "  axes: {batch: [1, 1]}\n",
                    .expected =
                            "m.yaml:2:3: found two cells 'e/batch=1', expected each "
                            "cell id once"},
            {"experiments:\n- name: a\n- name: b\n  axes: {lr: [1]}\n",
                    .expected = "a\nb/lr=1\n"},
    };
    CHECK_ALL(rows);
}

static void excludes_leave_their_reason(void **state) {
    (void)state;
    static const struct row rows[] = {
            {ONE "  axes: {batch: [4, 32, 64], kernel: [naive, flash]}\n"
                 "  exclude:\n"
                 "  - {when: {batch: '>=32', kernel: naive}, because: too big}\n"
                 "  - {when: {batch: 64}, because: second}\n",
                    .expected = "e/kernel=naive,batch=4\ne/kernel=flash,batch=4\n"
                                "!e/kernel=naive,batch=32 (too big)\n"
                                "e/kernel=flash,batch=32\n"
                                "!e/kernel=naive,batch=64 (too big)\n"
                                "!e/kernel=flash,batch=64 (second)\n"},
            {ONE "  axes: {kernel: [naive, fused, flash]}\n"
                 "  exclude: [{when: {kernel: 'f*'}, because: x}]\n",
                    .expected = "e/kernel=naive\n!e/kernel=fused (x)\n"
                                "!e/kernel=flash (x)\n"},
            {ONE "  axes: {kernel: [naive, fused, flash]}\n"
                 "  exclude: [{when: {kernel: [naive, '=flash']}, because: x}]\n",
                    .expected = "!e/kernel=naive (x)\ne/kernel=fused\n"
                                "!e/kernel=flash (x)\n"},
            {ONE "  axes: {batch: [1, 2]}\n"
                 "  exclude: [{when: {batch: 3}, because: x}]\n",
                    .expected = "m.yaml:4:13: found an exclude that matches no cell, "
                                "expected it to name one"},
            // An include may bring an excluded cell back.
            {ONE "  axes: {batch: [1, 2]}\n"
                 "  exclude: [{when: {batch: 2}, because: x}]\n"
                 "  include: [{batch: 2}, {batch: 3, seq_len: 100}]\n",
                    .expected = "e/batch=1\ne/batch=2\ne/seq_len=100,batch=3\n"},
            {ONE "  axes: {batch: [1, 2]}\n  include: [{batch: 2}]\n",
                    .expected =
                            "m.yaml:2:3: found two cells 'e/batch=2', expected each "
                            "cell id once"},
            {ONE "  axes: {batch: [1, 2]}\n  include: [{batch: 2, seq_len: 64}]\n",
                    .expected = "m.yaml:2:3: found cells 'e/batch=2' and "
                                "'e/seq_len=64,batch=2' with the same parameters, "
                                "expected each once"},
    };
    CHECK_ALL(rows);
}

static void cells_that_would_measure_nothing_are_excluded(void **state) {
    (void)state;
    static const struct row rows[] = {
            {ONE "  seq_len: 128\n  axes: {window: [0, 64, 128, 256]}\n",
                    .expected =
                            "e/window=0\ne/window=64\n"
                            "!e/window=128 (a window of 128 in a sequence of 128 is no "
                            "window)\n"
                            "!e/window=256 (a window of 256 in a sequence of 128 is no "
                            "window)\n"},
            // After --set: it may make a window bite, or not.
            {ONE "  seq_len: 128\n  axes: {window: [64, 128]}\n",
                    .set = {"seq_len=256"},
                    .expected = "e/seq_len=256,window=64\ne/seq_len=256,window=128\n"},
            {ONE "  seq_len: 128\n  window: 64\n", .set = {"seq_len=64"},
                    .expected =
                            "!e/seq_len=64 (a window of 64 in a sequence of 64 is no "
                            "window)\n"},
            {ONE "  axes: {ranks: [1, 2], ddp: [none, naive]}\n",
                    .expected = "e/ranks=1,ddp=none\n"
                                "!e/ranks=1,ddp=naive (ddp naive goes with more ranks "
                                "than one)\n"
                                "!e/ranks=2,ddp=none (ddp none goes with one rank, not "
                                "2)\n"
                                "e/ranks=2,ddp=naive\n"},
            {ONE "  task: noop\n  ranks: 2\n  window: 4096\n", .expected = "e\n"},
            {ONE "  task: allreduce\n  axes: {ranks: [1, 2], ddp: [none, flat]}\n",
                    .expected = "!e/ranks=1,ddp=none (one rank has nobody to add up "
                                "with)\n"
                                "!e/ranks=1,ddp=flat (one rank has nobody to add up "
                                "with)\n"
                                "e/ranks=2,ddp=none\n"
                                "!e/ranks=2,ddp=flat (task allreduce has no wrapper, "
                                "so ddp flat changes nothing)\n"},
    };
    CHECK_ALL(rows);
}

static void cells_that_would_repeat_another_are_excluded(void **state) {
    (void)state;
    static const struct row rows[] = {
            {ONE "  axes: {engine: [native, torch, torch_compile],\n"
                 "    compile_mode: [default, reduce-overhead]}\n",
                    .expected =
                            "e/engine=native,compile_mode=default\n"
                            "!e/engine=native,compile_mode=reduce-overhead (engine "
                            "native ignores compile_mode, so it would repeat "
                            "'e/engine=native,compile_mode=default')\n"
                            "e/engine=torch,compile_mode=default\n"
                            "!e/engine=torch,compile_mode=reduce-overhead (engine "
                            "torch ignores compile_mode, so it would repeat "
                            "'e/engine=torch,compile_mode=default')\n"
                            "e/engine=torch_compile,compile_mode=default\n"
                            "e/engine=torch_compile,compile_mode=reduce-overhead\n"},
            {ONE "  ranks: 2\n"
                 "  axes: {bucket_mb: [1, 5], ddp: [naive, bucketed, sharded]}\n",
                    .where = {"bucket_mb=5"},
                    .expected = "!e/ddp=naive,bucket_mb=5 (ddp naive ignores "
                                "bucket_mb, so it would repeat "
                                "'e/ddp=naive,bucket_mb=1')\n"
                                "e/ddp=bucketed,bucket_mb=5\n"
                                "e/ddp=sharded,bucket_mb=5\n"},
            {ONE "  axes: {first_gpu: [0, 1], device: [cpu, cuda]}\n",
                    .expected = "e/device=cpu,first_gpu=0\n"
                                "e/device=cuda,first_gpu=0\n"
                                "!e/device=cpu,first_gpu=1 (device cpu ignores "
                                "first_gpu, so it would repeat "
                                "'e/device=cpu,first_gpu=0')\n"
                                "e/device=cuda,first_gpu=1\n"},
            // Only what differs is named.
            {ONE "  zip: [{compile_mode: [default, max-autotune], bucket_mb: [1, 5]}]\n"
                 "  lr_schedule: constant\n  lr_min: 1e-5\n",
                    .expected =
                            "e/compile_mode=default,bucket_mb=1\n"
                            "!e/compile_mode=max-autotune,bucket_mb=5 (engine native "
                            "ignores compile_mode and ddp none ignores bucket_mb, so "
                            "it would repeat 'e/compile_mode=default,bucket_mb=1')\n"},
            {ONE "  axes: {checkpoint: [none, block], checkpoint_every: [2, 4]}\n",
                    .expected =
                            "e/checkpoint=none,checkpoint_every=2\n"
                            "!e/checkpoint=none,checkpoint_every=4 (checkpoint none "
                            "ignores checkpoint_every, so it would repeat "
                            "'e/checkpoint=none,checkpoint_every=2')\n"
                            "e/checkpoint=block,checkpoint_every=2\n"
                            "e/checkpoint=block,checkpoint_every=4\n"},
            {ONE "  axes: {lr_schedule: [linear, constant], lr_min: [0, 1e-5]}\n",
                    .where = {"lr_min>0"},
                    .expected = "e/lr_schedule=linear,lr_min=1e-5\n"
                                "!e/lr_schedule=constant,lr_min=1e-5 (lr_schedule "
                                "constant ignores lr_min, so it would repeat "
                                "'e/lr_schedule=constant,lr_min=0')\n"},
            {ONE "  axes: {inject: [none, segv], inject_step: [2, 3]}\n",
                    .where = {"inject_step=3"},
                    .expected = "!e/inject=none,inject_step=3 (inject none ignores "
                                "inject_step, so it would repeat "
                                "'e/inject=none,inject_step=2')\n"
                                "e/inject=segv,inject_step=3\n"},
            // An include, too, may repeat a cell.
            {ONE "  axes: {ddp: [none]}\n  include: [{ddp: none, bucket_mb: 1}]\n",
                    .expected = "e/ddp=none\n"
                                "!e/ddp=none,bucket_mb=1 (ddp none ignores bucket_mb, "
                                "so it would repeat 'e/ddp=none')\n"},
            // What is excluded itself stands for nothing.
            {ONE "  axes: {compile_mode: [default, max-autotune]}\n"
                 "  exclude: [{when: {compile_mode: default}, because: x}]\n",
                    .expected = "!e/compile_mode=default (x)\n"
                                "e/compile_mode=max-autotune\n"},
            // After --set, which may make them differ, or not.
            {ONE "  axes: {bucket_mb: [1, 5]}\n  ranks: 2\n  ddp: naive\n",
                    .set = {"ddp=sharded"},
                    .expected = "e/ddp=sharded,bucket_mb=1\n"
                                "e/ddp=sharded,bucket_mb=5\n"},
            {ONE "  axes: {bucket_mb: [1, 5]}\n  ranks: 2\n  ddp: sharded\n",
                    .set = {"ddp=flat"},
                    .expected = "e/ddp=flat,bucket_mb=1\n"
                                "!e/ddp=flat,bucket_mb=5 (ddp flat ignores bucket_mb, "
                                "so it would repeat 'e/ddp=flat,bucket_mb=1')\n"},
    };
    CHECK_ALL(rows);
}

static void cells_like_no_other_stay_whatever_they_set(void **state) {
    (void)state;
    static const struct row rows[] = {
            {"defaults: {bucket_mb: 1, compile_mode: max-autotune, inject_step: 7}\n"
             "experiments:\n- name: a\n- name: b\n  axes: {ranks: [1, 2]}\n"
             "  include: [{ranks: 2, ddp: naive, bucket_mb: 5}]\n"
             "  exclude: [{when: {ranks: 2}, because: x}]\n",
                    .expected = "a\nb/ranks=1\n!b/ranks=2 (x)\n"
                                "b/ranks=2,ddp=naive,bucket_mb=5\n"},
            {ONE "  axes: {compile_mode: [max-autotune]}\n",
                    .expected = "e/compile_mode=max-autotune\n"},
            // Within one experiment only.
            {"experiments:\n- name: a\n  bucket_mb: 1\n- name: b\n  bucket_mb: 5\n",
                    .expected = "a\nb\n"},
    };
    CHECK_ALL(rows);
}

static void impossible_cells_are_errors_unless_excluded(void **state) {
    (void)state;
    static const struct row rows[] = {
            {ONE "  axes: {heads: [4, 3]}\n",
                    .expected =
                            "m.yaml:2:3: cell 'e/heads=3': found heads 3, expected a "
                            "divisor of d_model 128"},
            {ONE "  axes: {heads: [4, 3]}\n"
                 "  exclude: [{when: {heads: 3}, because: odd}]\n",
                    .expected = "e/heads=4\n!e/heads=3 (odd)\n"},
            {ONE "  include: [{heads: 3}]\n",
                    .expected =
                            "m.yaml:3:13: cell 'e/heads=3': found heads 3, expected "
                            "a divisor of d_model 128"},
            {ONE, .set = {"heads=3"},
                    .expected =
                            "m.yaml:2:3: cell 'e/heads=3': found heads 3, expected a "
                            "divisor of d_model 128"},
    };
    CHECK_ALL(rows);
}

static void nearer_batch_replaces_the_farther(void **state) {
    (void)state;
    static const struct row rows[] = {
            {"defaults: {batch: 8}\n" ONE "  global_batch: 16\n", .expected = "e\n"},
            {"defaults: {global_batch: 8}\n" ONE "  axes: {batch: [1, 2]}\n",
                    .where = {"global_batch=0"}, .expected = "e/batch=1\ne/batch=2\n"},
            {ONE "  batch: 8\n", .set = {"global_batch=16"},
                    .expected = "e/global_batch=16\n"},
            {ONE "  batch: 8\n  global_batch: 16\n",
                    .expected =
                            "m.yaml:4:3: found both batch and global_batch, expected "
                            "one of them"},
            {ONE "  batch: 12\n  axes: {global_batch: [16]}\n",
                    .expected =
                            "m.yaml:2:3: cell 'e/global_batch=16': found both batch "
                            "and global_batch, expected one of them"},
            {"defaults: {batch: 8, global_batch: 8}\n" ONE,
                    .expected = "m.yaml:1:22: found both batch and global_batch, "
                                "expected one of them"},
            {ONE, .set = {"batch=8", "global_batch=8"},
                    .expected = "--set: found both 'batch=8' and 'global_batch=8', "
                                "expected one"},
    };
    CHECK_ALL(rows);
}

static void set_overrides_every_cell(void **state) {
    (void)state;
    static const struct row rows[] = {
            // On an axis it leaves that one value.
            {ONE "  axes: {batch: [1, 2], lr: [1, 2]}\n", .set = {"batch=2"},
                    .expected = "e/batch=2,lr=1\ne/batch=2,lr=2\n"},
            {ONE "  axes: {batch: [1, 2]}\n", .set = {"batch=9"},
                    .expected = "e/batch=9\n"},
            {ONE "  zip: [{layers: [1, 2], heads: [2, 4]}]\n", .set = {"heads=8"},
                    .expected = "e/layers=1,heads=8\ne/layers=2,heads=8\n"},
            // Elsewhere the id tells what is different.
            {ONE, .set = {"steps=9"}, .expected = "e/steps=9\n"},
            {ONE "  steps: 9\n", .set = {"steps=9"}, .expected = "e\n"},
            {ONE, .set = {"timeout_s=9", "repeats=3"}, .expected = "e\n"},
            // Excludes come before --set.
            {ONE "  axes: {batch: [1, 2]}\n"
                 "  exclude: [{when: {batch: 2}, because: x}]\n",
                    .set = {"batch=2"}, .expected = "e/batch=2\n"},
            {ONE "  axes: {batch: [1, 2]}\n"
                 "  exclude: [{when: {batch: 2}, because: x}]\n",
                    .set = {"lr=2"},
                    .expected = "e/batch=1,lr=2\n!e/batch=2,lr=2 (x)\n"},
            {ONE "  axes: {batch: [1, 2]}\n  include: [{batch: 1, seq_len: 100}]\n",
                    .set = {"seq_len=64"}, .expected = "e/batch=1\ne/batch=2\n"},
            {ONE, .set = {"stepz=9"},
                    .expected = "--set: found parameter 'stepz', expected a known one; "
                                "did you mean 'steps'?"},
            {ONE, .set = {"steps"},
                    .expected = "--set: found 'steps', expected parameter=value"},
            {ONE, .set = {"steps=x"},
                    .expected = "--set: found steps 'x', expected an integer from 1 to "
                                "1000000000"},
            {ONE, .set = {"lr=1", "lr=2"},
                    .expected = "--set: found both 'lr=1' and 'lr=2', expected one"},
    };
    CHECK_ALL(rows);
}

#define MANY                                                                           \
    "experiments:\n"                                                                   \
    "- {name: base, tags: [opts]}\n"                                                   \
    "- {name: bf16, tags: [opts, low], precision: bf16}\n"                             \
    "- {name: seq_len, tags: seq, axes: {seq_len: [32, 128]}}\n"

static void selection_picks_exactly_those_cells(void **state) {
    (void)state;
    static const struct row rows[] = {
            {MANY, .tags = {"opts"}, .expected = "base\nbf16\n"},
            {MANY, .tags = {"low", "seq"},
                    .expected = "bf16\nseq_len/seq_len=32\nseq_len/seq_len=128\n"},
            {MANY, .only = {"base", "seq_len/seq_len=128"},
                    .expected = "base\nseq_len/seq_len=128\n"},
            {MANY, .only = {"seq*"},
                    .expected = "seq_len/seq_len=32\nseq_len/seq_len=128\n"},
            {MANY, .only = {"*=3?"}, .expected = "seq_len/seq_len=32\n"},
            {MANY, .skip = {"b*"},
                    .expected = "seq_len/seq_len=32\nseq_len/seq_len=128\n"},
            {MANY, .tags = {"opts"}, .skip = {"bf16"}, .expected = "base\n"},
            {MANY, .only = {"44136fa355b3"}, .expected = "base\n"},
            {MANY, .where = {"seq_len>=64"},
                    .expected = "base\nbf16\nseq_len/seq_len=128\n"},
            {MANY, .where = {"seq_len>=64", "precision=bf*"}, .expected = "bf16\n"},
            {MANY, .where = {"precision!=fp32"}, .expected = "bf16\n"},
            {MANY, .tags = {"nosuch"},
                    .expected = "--tags: found 'nosuch', expected a tag that an "
                                "experiment has; nearest is 'opts'"},
            {MANY, .tags = {"seqs"},
                    .expected =
                            "--tags: found 'seqs', expected a tag that an experiment "
                            "has; nearest is 'seq'"},
            {MANY, .tags = {""},
                    .expected = "--tags: found '', expected a tag that an experiment "
                                "has; nearest is 'low'"},
            {MANY, .only = {"bass"},
                    .expected =
                            "--only: found 'bass', expected an experiment, cell id, "
                            "hash or glob; nearest is 'base'"},
            {MANY, .skip = {"seq_len/seq_len=129"},
                    .expected = "--skip: found 'seq_len/seq_len=129', expected an "
                                "experiment, cell id, hash or glob; nearest is "
                                "'seq_len/seq_len=128'"},
            {MANY, .where = {"seq_len>128"},
                    .expected =
                            "found a selection that leaves none of 4 cells, expected "
                            "one"},
            {MANY, .where = {"seqlen>128"},
                    .expected = "--where: found parameter 'seqlen', expected a known "
                                "one; did you mean 'seq_len'?"},
            {MANY, .where = {"seq_len"},
                    .expected =
                            "--where: found 'seq_len', expected a comparison such as "
                            "batch>=16"},
            {MANY, .where = {"kernel<flash"},
                    .expected = "--where: found an order on kernel, expected = or !="},
            {MANY, .where = {"kernel=flush"},
                    .expected = "--where: found kernel 'flush', expected naive, fused, "
                                "flash or cudnn; did you mean 'flash'?"},
    };
    CHECK_ALL(rows);
}

static void baseline_is_one_cell(void **state) {
    (void)state;
    static const struct row rows[] = {
            {"baseline: e\n" ONE, .expected = "e\n"},
            {"baseline: e\n" ONE "  axes: {lr: [1]}\n", .expected = "e/lr=1\n"},
            {"baseline: e/lr=2\n" ONE "  axes: {lr: [1, 2]}\n",
                    .expected = "e/lr=1\ne/lr=2\n"},
            {"baseline: e\n" ONE "  axes: {lr: [1, 2]}\n",
                    .expected =
                            "m.yaml:1:11: found baseline 'e' with 2 cells, expected "
                            "an experiment with one cell, or a cell id"},
            {"baseline: bsae\nexperiments:\n- name: base\n",
                    .expected = "m.yaml:1:11: found baseline 'bsae', expected an "
                                "experiment with one cell, or a cell id; did you mean "
                                "'base'?"},
            {"baseline: e/kernel=naive,engine=native,lr=2\n" ONE
             "  axes: {engine: [native], kernel: [naive], lr: [1, 2]}\n",
                    .expected = "m.yaml:1:11: found baseline "
                                "'e/kernel=naive,engine=native,lr=2', expected an "
                                "experiment with one cell, or a cell id; did you mean "
                                "'e/engine=native,kernel=naive,lr=2'?"},
            {"baseline: e/lr=3\n" ONE "  axes: {lr: [1, 2]}\n",
                    .expected = "m.yaml:1:11: found baseline 'e/lr=3', expected an "
                                "experiment with one cell, or a cell id; did you mean "
                                "'e/lr=1'?"},
    };
    CHECK_ALL(rows);
}

static void a_name_in_several_files_selects_in_each(void **state) {
    (void)state;
    struct text err = {0}, found = {0};
    const char *yaml = "experiments: [{name: a, tags: t}, {name: b}]\n";
    struct document *both[] = {document_parse("x/one.yaml", yaml, strlen(yaml), &err),
            document_parse("x/two.yaml", yaml, strlen(yaml), &err)};
    static const char *const only[] = {"a", NULL};
    struct selection selection = {.only = only};
    struct cells cells;
    assert_true(cells_expand(both, 2, &selection, &cells, &err));
    list_selected(&cells, &found);
    assert_string_equal(text_get(&found), "a\na\n");
    assert_int_equal(cells.count, 4);
    assert_string_equal(cells.items[0].matrix, "one");
    assert_string_equal(cells.items[2].matrix, "two");
    cells_finish(&cells);
    struct document *same[] = {both[0], both[0]};
    assert_false(cells_expand(same, 2, NULL, &cells, &err));
    assert_string_equal(text_get(&err),
            "found both 'x/one.yaml' and 'x/one.yaml', expected each name once");
    assert_null(cells.items);
    document_destroy(both[0]);
    document_destroy(both[1]);
    text_finish(&err);
    text_finish(&found);
}

static struct document *make_large(size_t width) {
    struct text yaml = {0}, err = {0};
    text_add(&yaml, ONE "  axes:\n");
    static const char *const names[] = {"seed", "steps", "lr_warmup"};
    for (size_t i = 0; i < 3; i++) {
        text_addf(&yaml, "    %s: [", names[i]);
        for (size_t j = 0; j < width; j++) {
            text_addf(&yaml, "%s%zu", j ? ", " : "", j + 10);
        }
        text_add(&yaml, "]\n");
    }
    struct document *d = document_parse("large.yaml", yaml.data, yaml.size, &err);
    assert_non_null(d);
    text_finish(&yaml);
    return d;
}

static void a_large_matrix_expands_and_one_too_large_is_refused(void **state) {
    (void)state;
    struct text err = {0};
    struct cells cells;
    struct document *d = make_large(30);
    assert_true(cells_expand(&d, 1, NULL, &cells, &err));
    assert_int_equal(cells.count, 27000);
    assert_string_equal(cells.items[26999].id, "e/steps=39,lr_warmup=39,seed=39");
    cells_finish(&cells);
    struct selection few = {.most = 26999};
    assert_false(cells_expand(&d, 1, &few, &cells, &err));
    assert_string_equal(
            text_get(&err), "large.yaml: found more than 26999 cells, expected fewer");
    document_destroy(d);
    text_clear(&err);
    d = make_large(1000); // a thousand million: refused before any is made
    assert_false(cells_expand(&d, 1, NULL, &cells, &err));
    assert_string_equal(text_get(&err),
            "large.yaml: found more than 1000000 cells, expected fewer");
    document_destroy(d);
    text_finish(&err);
}

static void excludes_that_would_take_hours_are_refused(void **state) {
    (void)state;
    struct text yaml = {0}, err = {0};
    struct cells cells;
    text_add(&yaml, ONE "  axes:\n    seed: [0");
    for (int i = 1; i < 20000; i++) {
        text_addf(&yaml, ", %d", i);
    }
    text_add(&yaml, "]\n  exclude:\n");
    for (int i = 0; i < 2000; i++) {
        text_add(&yaml, "  - {when: {data: '*a*b*c*d'}, because: x}\n");
    }
    struct document *d = document_parse("m.yaml", yaml.data, yaml.size, &err);
    assert_non_null(d);
    assert_false(cells_expand(&d, 1, NULL, &cells, &err));
    assert_string_equal(text_get(&err), "m.yaml:2:3: found more excludes times cells "
                                        "than can be compared, expected "
                                        "fewer");
    document_destroy(d);
    text_finish(&yaml);
    text_finish(&err);
}

static void cells_carry_what_the_file_says(void **state) {
    (void)state;
    const char *yaml = "defaults: {layers: 2, timeout_s: 7}\n"
                       "experiments:\n"
                       "- &a {name: a, layers: 3, expect: hang, tags: [x, y]}\n"
                       "- {<<: *a, name: b, batch: 5}\n"
                       "- {name: c}\n";
    struct text err = {0};
    struct cells cells;
    struct document *d = document_parse("m.yaml", yaml, strlen(yaml), &err);
    assert_non_null(d);
    assert_true(cells_expand(&d, 1, NULL, &cells, &err));
    assert_int_equal(cells.count, 3);
    const struct cell *b = &cells.items[1], *c = &cells.items[2];
    assert_string_equal(b->experiment, "b");
    assert_string_equal(b->tags, " x y ");
    assert_int_equal(b->expect, STATUS_HANG);
    assert_int_equal(params_integer(&b->params, PARAM_LAYERS), 3);
    assert_int_equal(params_integer(&b->params, PARAM_BATCH), 5);
    assert_int_equal(c->expect, -1);
    assert_string_equal(c->tags, " ");
    assert_int_equal(params_integer(&c->params, PARAM_LAYERS), 2);
    assert_int_equal(params_integer(&c->params, PARAM_TIMEOUT_S), 7);
    document_destroy(d);
    assert_string_equal(c->id, "c"); // cells outlive their document
    cells_finish(&cells);
}

int main(void) {
    const struct CMUnitTest tests[] = {
            cmocka_unit_test(axes_cross_in_file_order),
            cmocka_unit_test(excludes_leave_their_reason),
            cmocka_unit_test(cells_that_would_measure_nothing_are_excluded),
            cmocka_unit_test(cells_that_would_repeat_another_are_excluded),
            cmocka_unit_test(cells_like_no_other_stay_whatever_they_set),
            cmocka_unit_test(impossible_cells_are_errors_unless_excluded),
            cmocka_unit_test(nearer_batch_replaces_the_farther),
            cmocka_unit_test(set_overrides_every_cell),
            cmocka_unit_test(selection_picks_exactly_those_cells),
            cmocka_unit_test(baseline_is_one_cell),
            cmocka_unit_test(a_name_in_several_files_selects_in_each),
            cmocka_unit_test(a_large_matrix_expands_and_one_too_large_is_refused),
            cmocka_unit_test(excludes_that_would_take_hours_are_refused),
            cmocka_unit_test(cells_carry_what_the_file_says),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

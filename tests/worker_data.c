/* Data: what is cut where, that nothing is lost or seen twice, and what cannot be read.
 */
#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "worker/data.h"

static char folder[] = "/tmp/lm-data-XXXXXX";

static int make_folder(void **state) {
    (void)state;
    return mkdtemp(folder) ? 0 : -1;
}

static int remove_entry(
        const char *path, const struct stat *status, int type, struct FTW *where) {
    (void)status;
    (void)type;
    (void)where;
    return remove(path);
}

static int remove_folder(void **state) {
    (void)state;
    return nftw(folder, remove_entry, 4, FTW_DEPTH | FTW_PHYS);
}

/* A file of the bytes 0, 1, 2, …: every pair of neighbours is there once. */
static void write_counting(const char *name, int first, int count) {
    char path[200];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    for (int i = 0; i < count; i++) {
        fputc(first + i, f);
    }
    assert_int_equal(fclose(f), 0);
}

static struct params cell(const char *data, const char *split, int seq_len) {
    struct params p;
    struct text err = {0};
    params_init(&p);
    char number[20];
    snprintf(number, sizeof number, "%d", seq_len);
    assert_true(params_set(&p, PARAM_DATA, data, &err));
    assert_true(params_set(&p, PARAM_SPLIT, split, &err));
    assert_true(params_set(&p, PARAM_SEQ_LEN, number, &err));
    return p;
}

static struct data *load(const char *data, const char *split, int seq_len) {
    struct params p = cell(data, split, seq_len);
    struct kernel_error why;
    struct text err = {0};
    struct data *d = NULL;
    if (!data_create(&p, folder, &d, &why, &err)) {
        fail_msg("%s", text_get(&err));
    }
    return d;
}

static void splits_are_contiguous_and_lose_nothing(void **state) {
    (void)state;
    write_counting("bytes", 0, 200);
    struct data *d = load("bytes", "85/10/5", 8);
    const struct data_facts *f = data_facts(d);
    assert_int_equal(f->bytes, 200);
    assert_int_equal(f->vocab, 256);
    assert_int_equal(f->tokens[SPLIT_TRAIN], 170);
    assert_int_equal(f->tokens[SPLIT_VALID], 20);
    assert_int_equal(f->tokens[SPLIT_TEST], 10);
    int32_t in[8 * 4], out[8 * 4];
    // The first token of a split has no pair before it: 19 targets in 3 windows.
    assert_int_equal(data_windows(d, SPLIT_VALID), 3);
    assert_int_equal(data_evaluation_batch(d, SPLIT_VALID, 0, 4, in, out), 19);
    for (int i = 0; i < 32; i++) {
        assert_int_equal(in[i], i < 19 ? 170 + i : 0);
        assert_int_equal(out[i], i < 19 ? 171 + i : -1);
    }
    assert_int_equal(data_evaluation_batch(d, SPLIT_TEST, 0, 4, in, out), 9);
    assert_int_equal(in[0], 190);
    assert_int_equal(out[8], 199);
    assert_int_equal(data_evaluation_batch(d, SPLIT_TEST, 2, 4, in, out), 0);
    data_destroy(d);
}

static void evaluation_in_parts_is_evaluation_in_one(void **state) {
    (void)state;
    write_counting("bytes", 0, 200);
    struct data *d = load("bytes", "50/50/0", 7);
    int seen[256] = {0};
    int64_t real = 0;
    for (int64_t first = 0; first < data_windows(d, SPLIT_VALID); first += 2) {
        int32_t in[14], out[14];
        real += data_evaluation_batch(d, SPLIT_VALID, first, 2, in, out);
        for (int i = 0; i < 14; i++) {
            seen[out[i] < 0 ? 0 : out[i]] += out[i] >= 0;
        }
    }
    assert_int_equal(real, 99);
    for (int i = 0; i < 256; i++) {
        assert_int_equal(seen[i], i > 100 && i < 200);
    }
    data_destroy(d);
}

/* How often `world` ranks together see each token as a target, in steps [from, to). */
static void count_targets(const struct data *d, int world, int batch, int seq_len,
        int samples, int *seen) {
    memset(seen, 0, 256 * sizeof *seen);
    int32_t *in = malloc((size_t)(batch * seq_len) * sizeof *in);
    int32_t *out = malloc((size_t)(batch * seq_len) * sizeof *out);
    for (int step = 0; step * batch * world < samples; step++) {
        for (int rank = 0; rank < world; rank++) {
            data_training_batch(
                    d, (int64_t)(step * world + rank) * batch, batch, in, out);
            for (int i = 0; i < batch * seq_len; i++) {
                assert_int_equal((in[i] + 1) % 256, out[i]);
                seen[out[i]]++;
            }
        }
    }
    free(in);
    free(out);
}

static void all_ranks_together_see_each_token_once_an_epoch(void **state) {
    (void)state;
    write_counting("bytes", 0, 241); // 240 pairs: 30 windows of 8
    struct data *d = load("bytes", "100/0/0", 8);
    assert_int_equal(data_windows(d, SPLIT_TRAIN), 30);
    const int shapes[][2] = {{1, 30}, {1, 1}, {2, 3}, {3, 5}, {5, 1}, {10, 3}};
    for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++) {
        int seen[256];
        count_targets(d, shapes[s][0], shapes[s][1], 8, 30, seen);
        for (int i = 0; i < 256; i++) {
            assert_int_equal(seen[i], i > 0 && i < 241);
        }
        count_targets(d, shapes[s][0], shapes[s][1], 8, 60, seen); // and the next epoch
        for (int i = 0; i < 256; i++) {
            assert_int_equal(seen[i], i > 0 && i < 241 ? 2 : 0);
        }
    }
    data_destroy(d);
}

enum { JOINED = 24, SEQ = 8 }; // rows that all ranks take together in a micro-step

/* Micro-step `micro` of a step as all ranks take it together: [JOINED, SEQ] of each. */
static void join(const struct data *d, int world, int accumulate, int64_t end,
        int64_t step, int micro, int32_t *in, int32_t *out, int64_t *rows) {
    int32_t part[2][2 * JOINED * SEQ];
    int batch = JOINED / world, size = batch * SEQ;
    *rows = 0;
    for (int rank = 0; rank < world; rank++) {
        struct data_share s = {accumulate, batch, rank, world, end};
        data_training_step(d, &s, step, part[0], part[1]);
        memcpy(in + rank * size, part[0] + micro * size, (size_t)size * sizeof *in);
        memcpy(out + rank * size, part[1] + micro * size, (size_t)size * sizeof *out);
        *rows += data_share_rows(&s, step);
    }
}

static void any_number_of_ranks_sees_one_ranks_joined_batch(void **state) {
    (void)state;
    static const int worlds[] = {1, 2, 3, 4, 8};
    write_counting("bytes", 0, 241); // 30 windows
    struct data *d = load("bytes", "100/0/0", SEQ);
    int32_t in[JOINED * SEQ], out[JOINED * SEQ], alone[2][JOINED * SEQ];
    for (int w = 0; w < 5; w++) {
        for (int accumulate = 1; accumulate <= 2; accumulate++) {
            for (int64_t i = 0; i < 8; i++) {
                int64_t rows;
                data_training_batch(d, i * JOINED, JOINED, alone[0], alone[1]);
                join(d, worlds[w], accumulate, INT64_MAX, i / accumulate,
                        (int)(i % accumulate), in, out, &rows);
                assert_memory_equal(in, alone[0], sizeof in);
                assert_memory_equal(out, alone[1], sizeof out);
                assert_int_equal(rows, accumulate * JOINED);
            }
        }
    }
    data_destroy(d);
}

static void epochs_end_within_a_step_for_any_number_of_ranks(void **state) {
    (void)state;
    static const int worlds[] = {1, 2, 3, 4, 8};
    write_counting("bytes", 0, 241); // 30 windows: 3 epochs are 3 steps of 24 and 18
    struct data *d = load("bytes", "100/0/0", SEQ);
    int32_t in[JOINED * SEQ], out[JOINED * SEQ], alone[2][JOINED * SEQ];
    for (int w = 0; w < 5; w++) {
        int seen[256] = {0};
        for (int64_t step = 0; step < 4; step++) {
            int64_t rows;
            join(d, worlds[w], 1, 90, step, 0, in, out, &rows);
            assert_int_equal(rows, step < 3 ? 24 : 18);
            data_training_batch(d, step * JOINED, JOINED, alone[0], alone[1]);
            for (int i = 0; i < JOINED * SEQ; i++) {
                bool real = i < rows * SEQ;
                assert_int_equal(in[i], real ? alone[0][i] : 0);
                assert_int_equal(out[i], real ? alone[1][i] : -1);
                seen[real ? out[i] : 0] += real;
            }
        }
        for (int i = 0; i < 256; i++) {
            assert_int_equal(seen[i], i > 0 && i < 241 ? 3 : 0);
        }
    }
    data_destroy(d);
}

static void uneven_ends_are_left_out_by_turns(void **state) {
    (void)state;
    write_counting("bytes", 0, 247); // 246 pairs: 30 windows of 8, and 6 over
    struct data *d = load("bytes", "100/0/0", 8);
    int seen[256], total[256] = {0};
    assert_int_equal(data_windows(d, SPLIT_TRAIN), 30);
    for (int epoch = 0; epoch < 64; epoch++) {
        int once = 0;
        memset(seen, 0, sizeof seen);
        for (int i = 0; i < 30; i++) {
            int32_t in[8], out[8];
            data_training_batch(d, epoch * 30 + i, 1, in, out);
            for (int t = 0; t < 8; t++) {
                seen[out[t]]++;
            }
        }
        for (int i = 0; i < 256; i++) {
            assert_true(seen[i] <= 1);
            once += seen[i];
            total[i] += seen[i];
        }
        assert_int_equal(once, 240);
    }
    for (int i = 1; i < 247; i++) {
        assert_true(total[i] > 50); // no token is left out each time
    }
    data_destroy(d);
}

static void samples_do_not_depend_on_how_they_are_asked_for(void **state) {
    (void)state;
    struct data *d = load("stories:20kB", "90/10/0", 16);
    struct data *same = load("stories:20kB", "90/10/0", 16);
    int32_t a[2][50 * 16], b[2][50 * 16];
    data_training_batch(d, 1000, 50, a[0], a[1]);
    for (int i = 0; i < 50; i++) {
        data_training_batch(same, 1000 + i, 1, b[0] + i * 16, b[1] + i * 16);
    }
    assert_memory_equal(a, b, sizeof a);
    data_training_batch(d, 0, 50, b[0], b[1]);
    assert_int_not_equal(memcmp(a, b, sizeof a), 0);
    data_destroy(d);
    data_destroy(same);
}

static void another_seed_deals_another_order_of_the_same_corpus(void **state) {
    (void)state;
    struct params p = cell("stories:20kB", "90/10/0", 16);
    struct kernel_error why;
    struct text err = {0};
    struct data *a, *b;
    assert_true(data_create(&p, "", &a, &why, &err));
    assert_true(params_set(&p, PARAM_SEED, "4242", &err));
    assert_true(data_create(&p, "", &b, &why, &err));
    assert_string_equal(data_facts(a)->digest, data_facts(b)->digest);
    int32_t in[2][160], out[160];
    data_training_batch(a, 0, 10, in[0], out);
    data_training_batch(b, 0, 10, in[1], out);
    assert_int_not_equal(memcmp(in[0], in[1], sizeof in[0]), 0);
    data_destroy(a);
    data_destroy(b);
}

static void the_digest_covers_bytes_and_split(void **state) {
    (void)state;
    write_counting("bytes", 0, 200);
    write_counting("other", 1, 200);
    struct data *d[4] = {load("bytes", "85/10/5", 8), load("bytes", "85/10/5", 16),
            load("bytes", "90/10/0", 8), load("other", "85/10/5", 8)};
    assert_int_equal(strlen(data_facts(d[0])->digest), 64);
    assert_string_equal(data_facts(d[0])->digest, data_facts(d[1])->digest);
    assert_string_not_equal(data_facts(d[0])->digest, data_facts(d[2])->digest);
    assert_string_not_equal(data_facts(d[0])->digest, data_facts(d[3])->digest);
    for (int i = 0; i < 4; i++) {
        data_destroy(d[i]);
    }
}

static void lists_and_globs_join_their_files(void **state) {
    (void)state;
    write_counting("part-b", 100, 50);
    write_counting("part-a", 0, 100);
    write_counting("last", 150, 50);
    struct data *d = load("part-?, last", "100/0/0", 199);
    int32_t in[199], out[199];
    data_training_batch(d, 0, 1, in, out);
    for (int i = 0; i < 199; i++) {
        // One window of all pairs, from the seeded phase on and around.
        assert_int_equal(out[i], in[i] + 1);
        assert_int_equal(in[i], (in[0] + i) % 199);
    }
    data_destroy(d);
}

static void refuse(const char *data, const char *split, int seq_len,
        enum kernel_failure kind, const char *sentence) {
    struct params p = cell(data, split, seq_len);
    struct kernel_error why = {0};
    struct text err = {0}, expected = {0};
    struct data *d;
    assert_false(data_create(&p, folder, &d, &why, &err));
    for (const char *s = sentence; *s; s++) { // '@' stands for the folder
        if (*s == '@') {
            text_add(&expected, folder);
        } else {
            text_add_bytes(&expected, s, 1);
        }
    }
    assert_string_equal(text_get(&err), text_get(&expected));
    assert_int_equal(why.kind, kind);
    text_finish(&expected);
    text_finish(&err);
}

static void what_cannot_be_read_is_said_in_one_sentence(void **state) {
    (void)state;
    char sub[200];
    snprintf(sub, sizeof sub, "%s/sub", folder);
    mkdir(sub, 0700);
    write_counting("bytes", 0, 200);
    refuse("missing.txt", "85/10/5", 8, KERNEL_OK,
            "cannot open data file '@/missing.txt': No such file or directory");
    refuse("*.none", "85/10/5", 8, KERNEL_OK, "data '@/*.none' matches no file");
    refuse("bytes,,bytes", "85/10/5", 8, KERNEL_OK,
            "data 'bytes,,bytes' has an empty file name");
    refuse("sub", "85/10/5", 8, KERNEL_UNSUPPORTED,
            "data '@/sub' is a folder: this version reads text files only; name files "
            "or a glob such as '@/sub/*.txt'");
    refuse("/dev/null", "85/10/5", 8, KERNEL_OK,
            "data '/dev/null' is not a regular file");
    refuse("bytes", "85/10/5", 170, KERNEL_OK,
            "data 'bytes, 0.0 MB' is too small: split 85/10/5 leaves 170 tokens to "
            "train on, and seq_len 170 needs at least 171");
    refuse("stories:much", "85/10/5", 8, KERNEL_OK,
            "data 'stories:much': expected stories, stories:SIZE or stories:SIZE:SEED, "
            "such as stories:4MB:1337");
    refuse("stories:1kB:1x", "85/10/5", 8, KERNEL_OK,
            "data 'stories:1kB:1x': expected stories, stories:SIZE or "
            "stories:SIZE:SEED, such as stories:4MB:1337");
}

static void an_unknown_tokenizer_is_unsupported(void **state) {
    (void)state;
    struct params p = cell("stories", "85/10/5", 8);
    struct kernel_error why = {0};
    struct text err = {0};
    struct data *d;
    assert_true(params_set(&p, PARAM_TOKENIZER, "4096", &err));
    assert_false(data_create(&p, "", &d, &why, &err));
    assert_int_equal(why.kind, KERNEL_UNSUPPORTED);
    assert_string_equal(
            text_get(&err), "tokenizer '4096': this version knows 'bytes' only");
    text_finish(&err);
}

int main(void) {
    const struct CMUnitTest tests[] = {
            cmocka_unit_test(splits_are_contiguous_and_lose_nothing),
            cmocka_unit_test(evaluation_in_parts_is_evaluation_in_one),
            cmocka_unit_test(all_ranks_together_see_each_token_once_an_epoch),
            cmocka_unit_test(any_number_of_ranks_sees_one_ranks_joined_batch),
            cmocka_unit_test(epochs_end_within_a_step_for_any_number_of_ranks),
            cmocka_unit_test(uneven_ends_are_left_out_by_turns),
            cmocka_unit_test(samples_do_not_depend_on_how_they_are_asked_for),
            cmocka_unit_test(another_seed_deals_another_order_of_the_same_corpus),
            cmocka_unit_test(the_digest_covers_bytes_and_split),
            cmocka_unit_test(lists_and_globs_join_their_files),
            cmocka_unit_test(what_cannot_be_read_is_said_in_one_sentence),
            cmocka_unit_test(an_unknown_tokenizer_is_unsupported),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}

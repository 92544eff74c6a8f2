/* The table of GEMM algorithms and its file: what it keeps, and what it refuses. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "kernels/cuda/algorithms.h"

static const struct algorithm_machine here = {
        "Some GPU 80GB, 132 SMs", "CUDA 13000, driver 580.95.05", "cuBLASLt 130100"};

struct room {
    char folder[64], path[96];
};

static int open_room(void **state) {
    struct room *r = calloc(1, sizeof(*r));
    snprintf(r->folder, sizeof(r->folder), "/tmp/algorithms.XXXXXX");
    assert_non_null(mkdtemp(r->folder));
    snprintf(r->path, sizeof(r->path), "%s/table", r->folder);
    *state = r;
    return 0;
}

static int close_room(void **state) {
    struct room *r = *state;
    unlink(r->path);
    // Fails where a save has left a file beside the table.
    int left = rmdir(r->folder);
    free(r);
    return left;
}

static struct algorithm_key key_of(int64_t m) {
    struct algorithm_key key;
    memset(&key, 0, sizeof(key));
    key.m = m;
    key.n = 768;
    key.k = 3072;
    key.type = DTYPE_BF16;
    key.out_type = DTYPE_F32;
    key.workspace = 33554176;
    return key;
}

static void put(struct algorithms *table, const struct algorithm_machine *machine,
        int64_t m, int seed) {
    struct kernel_error err;
    struct algorithm_key key = key_of(m);
    unsigned char data[ALGORITHM_BYTES];
    for (int i = 0; i < ALGORITHM_BYTES; i++) {
        data[i] = (unsigned char)(seed + 37 * i);
    }
    assert_true(algorithms_put(table, machine, &key, data, 12.34, &err));
}

// The seed of an entry, −1 where there is none.
static int seed_of(const struct algorithms *table,
        const struct algorithm_machine *machine, int64_t m) {
    struct algorithm_key key = key_of(m);
    const unsigned char *data = algorithms_find(table, machine, &key);
    for (int i = 0; data && i < ALGORITHM_BYTES; i++) {
        assert_int_equal(data[i], (unsigned char)(data[0] + 37 * i));
    }
    return data ? data[0] : -1;
}

static struct algorithms *read_table(const char *path) {
    struct algorithms *table = NULL;
    struct kernel_error err;
    assert_true(algorithms_read(&table, path, &err));
    return table;
}

static void save(const struct algorithms *table, const char *path) {
    struct kernel_error err;
    assert_true(algorithms_save(table, path, &err));
}

static char *contents(const char *path) {
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    char *text = calloc(1, 1 << 20);
    assert_true(fread(text, 1, (1 << 20) - 1, file) > 0);
    fclose(file);
    return text;
}

static void write_file(const char *path, const char *text, size_t size) {
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_int_equal(fwrite(text, 1, size, file), size);
    assert_int_equal(fclose(file), 0);
}

// What reading the file says; it must fail and leave no table.
static void check_refused(const char *path, const char *sentence) {
    struct algorithms *table = (struct algorithms *)&here;
    struct kernel_error err = {0};
    assert_false(algorithms_read(&table, path, &err));
    assert_null(table);
    assert_int_equal(err.kind, KERNEL_FAILED);
    if (!strstr(err.sentence, sentence)) {
        fail_msg("\"%s\" does not say \"%s\"", err.sentence, sentence);
    }
}

static void an_absent_file_is_an_empty_table(void **state) {
    struct room *r = *state;
    struct algorithms *none = read_table(NULL), *absent = read_table(r->path);
    char digest[17] = "unset";
    assert_int_equal(seed_of(none, &here, 1), -1);
    assert_int_equal(seed_of(absent, &here, 1), -1);
    algorithms_digest(absent, &here, digest);
    assert_string_equal(digest, "");
    algorithms_destroy(none);
    algorithms_destroy(absent);
    algorithms_destroy(NULL);
}

static void entries_of_all_machines_survive_the_file(void **state) {
    struct room *r = *state;
    struct algorithm_machine other = here;
    snprintf(other.driver, sizeof(other.driver), "CUDA 12040");
    struct algorithms *table = read_table(NULL);
    for (int i = 0; i < 200; i++) { // more than the first room
        put(table, &here, 100 + i, i);
    }
    put(table, &other, 100, 250);
    save(table, r->path);
    save(table, r->path); // over itself
    algorithms_destroy(table);
    table = read_table(r->path);
    for (int i = 0; i < 200; i++) {
        assert_int_equal(seed_of(table, &here, 100 + i), i);
    }
    assert_int_equal(seed_of(table, &other, 100), 250);
    assert_int_equal(seed_of(table, &other, 101), -1);
    algorithms_destroy(table);
}

static void every_field_of_a_key_counts(void **state) {
    struct room *r = *state;
    struct algorithm_key key;
    int64_t numbers[sizeof(key) / sizeof(int64_t)];
    struct algorithms *table = read_table(NULL);
    put(table, &here, 5, 5);
    save(table, r->path);
    algorithms_destroy(table);
    table = read_table(r->path);
    assert_int_equal(seed_of(table, &here, 5), 5);
    for (size_t i = 0; i < sizeof(numbers) / sizeof(*numbers); i++) {
        key = key_of(5);
        memcpy(numbers, &key, sizeof(key));
        numbers[i]++;
        memcpy(&key, numbers, sizeof(key));
        assert_null(algorithms_find(table, &here, &key));
    }
    algorithms_destroy(table);
}

static void the_longest_line_is_written_and_read(void **state) {
    struct room *r = *state;
    struct algorithm_machine wide = {"", "", ""};
    struct algorithm_key key;
    struct kernel_error err;
    unsigned char data[ALGORITHM_BYTES] = {0};
    memset(wide.gpu, 'g', sizeof(wide.gpu) - 1);
    memset(wide.driver, 'd', sizeof(wide.driver) - 1);
    memset(wide.library, 'l', sizeof(wide.library) - 1);
    int64_t numbers[sizeof(key) / sizeof(int64_t)];
    for (size_t i = 0; i < sizeof(numbers) / sizeof(*numbers); i++) {
        numbers[i] = i % 2 ? INT64_MIN : INT64_MAX;
    }
    memcpy(&key, numbers, sizeof(key));
    struct algorithms *table = read_table(NULL);
    assert_true(algorithms_put(table, &wide, &key, data, 1e9, &err));
    save(table, r->path);
    algorithms_destroy(table);
    table = read_table(r->path);
    assert_non_null(algorithms_find(table, &wide, &key));
    algorithms_destroy(table);
}

static void the_same_entries_make_the_same_file_and_digest(void **state) {
    struct room *r = *state;
    char forth[17], back[17], fewer[17], changed[17], foreign[17];
    struct algorithm_machine other = here;
    snprintf(other.gpu, sizeof(other.gpu), "Another GPU");
    struct algorithms *a = read_table(NULL), *b = read_table(NULL);
    put(a, &here, 1, 1);
    algorithms_digest(a, &here, fewer);
    for (int i = 2; i <= 9; i++) {
        put(a, &here, i, i);
    }
    put(a, &other, 1, 7);
    put(b, &other, 1, 7);
    for (int i = 9; i >= 1; i--) {
        put(b, &here, i, i);
    }
    save(a, r->path);
    char *first = contents(r->path);
    save(b, r->path);
    char *second = contents(r->path);
    assert_string_equal(first, second);
    algorithms_digest(a, &here, forth);
    algorithms_digest(b, &here, back);
    algorithms_digest(b, &other, foreign);
    assert_int_equal(strlen(forth), 16);
    assert_string_equal(forth, back);
    assert_string_not_equal(forth, fewer);
    assert_string_not_equal(forth, foreign);
    put(b, &here, 5, 6); // replaces
    assert_int_equal(seed_of(b, &here, 5), 6);
    algorithms_digest(b, &here, changed);
    assert_string_not_equal(forth, changed);
    free(first);
    free(second);
    algorithms_destroy(a);
    algorithms_destroy(b);
}

/* A file of two entries: its text, the caller's, and where its lines begin. */
static char *save_two(const struct room *r, char **second, char **third) {
    struct algorithms *table = read_table(NULL);
    put(table, &here, 1, 1);
    put(table, &here, 2, 2);
    save(table, r->path);
    algorithms_destroy(table);
    char *text = contents(r->path);
    *second = strchr(text, '\n') + 1;
    *third = strchr(*second, '\n') + 1;
    return text;
}

static void any_damaged_byte_is_refused(void **state) {
    struct room *r = *state;
    char *second, *third, *text = save_two(r, &second, &third);
    char line[160];
    size_t size = strlen(text);
    for (size_t i = 0; i < size; i++) {
        char kept = text[i];
        text[i] = kept == 'x' ? 'y' : 'x';
        write_file(r->path, text, size);
        const char *at = text + i;
        snprintf(line, sizeof(line), "'%s':%d: damaged line", r->path,
                at < third ? 2 : 3);
        check_refused(
                r->path, at < second ? "is not a table of GEMM algorithms" : line);
        text[i] = kept;
    }
    text[third - text + 5] = 0;
    write_file(r->path, text, size);
    check_refused(r->path, ":3: damaged line");
    free(text);
}

static void a_file_that_ends_early_is_refused(void **state) {
    struct room *r = *state;
    char *second, *third, *text = save_two(r, &second, &third);
    for (size_t i = 0; i < strlen(text); i++) {
        if (text + i != second && text + i != third) { // whole lines are a table
            write_file(r->path, text, i);
            check_refused(r->path, r->path);
        }
    }
    free(text);
}

static void an_entry_given_twice_is_refused(void **state) {
    struct room *r = *state;
    struct algorithms *table = read_table(NULL);
    put(table, &here, 1, 1);
    save(table, r->path);
    algorithms_destroy(table);
    char *text = contents(r->path), *line = strdup(strchr(text, '\n') + 1);
    memcpy(text + strlen(text), line, strlen(line) + 1);
    write_file(r->path, text, strlen(text));
    check_refused(r->path, ":3: an entry given twice");
    free(line);
    free(text);
}

static void a_folder_that_is_not_there_is_named(void **state) {
    struct room *r = *state;
    char path[160];
    struct kernel_error err = {0};
    struct algorithms *table = read_table(NULL);
    snprintf(path, sizeof(path), "%s/absent/table", r->folder);
    assert_false(algorithms_save(table, path, &err));
    assert_non_null(strstr(err.sentence, path));
    assert_non_null(strstr(err.sentence, "No such file or directory"));
    check_refused(r->folder, r->folder);
    algorithms_destroy(table);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, open_room, close_room)

int main(void) {
    const struct CMUnitTest tests[] = {
            TEST(an_absent_file_is_an_empty_table),
            TEST(entries_of_all_machines_survive_the_file),
            TEST(every_field_of_a_key_counts),
            TEST(the_longest_line_is_written_and_read),
            TEST(the_same_entries_make_the_same_file_and_digest),
            TEST(any_damaged_byte_is_refused),
            TEST(a_file_that_ends_early_is_refused),
            TEST(an_entry_given_twice_is_refused),
            TEST(a_folder_that_is_not_there_is_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

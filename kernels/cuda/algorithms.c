#include "kernels/cuda/algorithms.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char heading[] = "lm-matrix GEMM algorithms 1\n";

enum { LINE_MAX_BYTES = 2048 };

struct entry {
    struct algorithm_machine machine;
    struct algorithm_key key;
    unsigned char data[ALGORITHM_BYTES];
    double microseconds;
};

struct algorithms {
    struct entry *entries;
    size_t count, room;
};

static const char *const names[] = {"m", "n", "k", "lda", "ldb", "ldout", "batch",
        "stride_a", "stride_b", "stride_out", "transpose_a", "transpose_b",
        "accumulate", "bias", "align_a", "align_b", "align_out", "align_bias",
        "workspace", "type", "out_type", "tf32"};

enum { NUMBERS = sizeof(names) / sizeof(*names) };
static_assert(sizeof(struct algorithm_key) == NUMBERS * sizeof(int64_t),
        "every field of a key has its name");

// FNV-1a, then mixed so that sums of hashes keep all bits.
static uint64_t hash(uint64_t seed, const void *data, size_t size) {
    const unsigned char *bytes = data;
    uint64_t h = 0xcbf29ce484222325u ^ seed;
    for (size_t i = 0; i < size; i++) {
        h = (h ^ bytes[i]) * 0x100000001b3u;
    }
    h = (h ^ (h >> 30)) * 0xbf58476d1ce4e5b9u;
    h = (h ^ (h >> 27)) * 0x94d049bb133111ebu;
    return h ^ (h >> 31);
}

static bool same_machine(
        const struct algorithm_machine *a, const struct algorithm_machine *b) {
    return strcmp(a->gpu, b->gpu) == 0 && strcmp(a->driver, b->driver) == 0 &&
           strcmp(a->library, b->library) == 0;
}

static struct entry *find(const struct algorithms *table,
        const struct algorithm_machine *machine, const struct algorithm_key *key) {
    for (size_t i = 0; i < table->count; i++) {
        struct entry *e = &table->entries[i];
        if (memcmp(&e->key, key, sizeof(*key)) == 0 &&
                same_machine(&e->machine, machine)) {
            return e;
        }
    }
    return NULL;
}

const unsigned char *algorithms_find(const struct algorithms *table,
        const struct algorithm_machine *machine, const struct algorithm_key *key) {
    const struct entry *e = find(table, machine, key);
    return e ? e->data : NULL;
}

static bool add(
        struct algorithms *table, const struct entry *e, struct kernel_error *err) {
    if (table->count == table->room) {
        size_t room = table->room ? 2 * table->room : 64;
        struct entry *more = realloc(table->entries, room * sizeof(*more));
        if (!more) {
            return kernel_fail(
                    err, KERNEL_OUT_OF_MEMORY, "no memory for GEMM algorithms");
        }
        table->entries = more;
        table->room = room;
    }
    table->entries[table->count++] = *e;
    return true;
}

bool algorithms_put(struct algorithms *table, const struct algorithm_machine *machine,
        const struct algorithm_key *key, const unsigned char data[ALGORITHM_BYTES],
        double microseconds, struct kernel_error *err) {
    struct entry e = {.machine = *machine, .key = *key, .microseconds = microseconds};
    struct entry *old = find(table, machine, key);
    memcpy(e.data, data, sizeof(e.data));
    if (old) {
        *old = e;
        return true;
    }
    return add(table, &e, err);
}

void algorithms_digest(const struct algorithms *table,
        const struct algorithm_machine *machine, char digest[17]) {
    uint64_t sum = 0;
    bool any = false;
    for (size_t i = 0; i < table->count; i++) {
        const struct entry *e = &table->entries[i];
        if (same_machine(&e->machine, machine)) {
            uint64_t key = hash(0, &e->key, sizeof(e->key));
            sum += hash(key, e->data, sizeof(e->data));
            any = true;
        }
    }
    digest[0] = 0;
    if (any) {
        snprintf(digest, 17, "%016llx", (unsigned long long)sum);
    }
}

/* -- reading --------------------------------------------------------------------- */

// The text up to the next `end`, which becomes NUL; NULL where there is no `end`.
static char *cut(char **at, char end) {
    char *field = *at, *stop = strchr(field, end);
    if (!stop) {
        return NULL;
    }
    *stop = 0;
    *at = stop + 1;
    return field;
}

static bool take_text(char *to, size_t size, char **at) {
    char *field = cut(at, '\t');
    return field && (size_t)snprintf(to, size, "%s", field) < size;
}

// "name=number", for every name in order.
static bool take_key(struct algorithm_key *key, char *text) {
    int64_t numbers[NUMBERS];
    for (int i = 0; i < NUMBERS; i++) {
        size_t length = strlen(names[i]);
        char *end;
        if (strncmp(text, names[i], length) != 0 || text[length] != '=') {
            return false;
        }
        text += length + 1;
        errno = 0;
        numbers[i] = strtoll(text, &end, 10);
        if (errno || end == text || *end != (i + 1 < NUMBERS ? ' ' : 0)) {
            return false;
        }
        text = end + 1;
    }
    memcpy(key, numbers, sizeof(*key));
    return true;
}

static int digit(char c) {
    const char *digits = "0123456789abcdef", *at = c ? strchr(digits, c) : NULL;
    return at ? (int)(at - digits) : -1;
}

static bool take_data(unsigned char data[ALGORITHM_BYTES], const char *text) {
    if (strlen(text) != 2 * ALGORITHM_BYTES) {
        return false;
    }
    for (int i = 0; i < ALGORITHM_BYTES; i++) {
        int high = digit(text[2 * i]), low = digit(text[2 * i + 1]);
        if (high < 0 || low < 0) {
            return false;
        }
        data[i] = (unsigned char)(16 * high + low);
    }
    return true;
}

// A line with its '\n', which is taken apart.
static bool take_entry(struct entry *e, char *line) {
    char *sum = strrchr(line, '\t'), *field, *end;
    char expected[24];
    if (!sum) {
        return false;
    }
    sum++;
    snprintf(expected, sizeof(expected), "%016llx\n",
            (unsigned long long)hash(0, line, (size_t)(sum - line)));
    if (strcmp(sum, expected) != 0) {
        return false;
    }
    *e = (struct entry){0};
    if (!take_text(e->machine.gpu, sizeof(e->machine.gpu), &line) ||
            !take_text(e->machine.driver, sizeof(e->machine.driver), &line) ||
            !take_text(e->machine.library, sizeof(e->machine.library), &line) ||
            !(field = cut(&line, '\t')) || !take_key(&e->key, field) ||
            !(field = cut(&line, '\t'))) {
        return false;
    }
    e->microseconds = strtod(field, &end);
    return end != field && !*end && (field = cut(&line, '\t')) &&
           take_data(e->data, field) && line == sum;
}

static bool read_lines(struct algorithms *table, FILE *file, const char *path,
        struct kernel_error *err) {
    char *line = NULL;
    size_t room = 0;
    bool good = true;
    for (int number = 1; good; number++) {
        struct entry e;
        ssize_t length = getline(&line, &room, file);
        if (length < 0 && number > 1) {
            break;
        }
        if (number == 1) {
            good = (length >= 0 && strcmp(line, heading) == 0) ||
                   kernel_fail(err, KERNEL_FAILED,
                           "'%.160s' is not a table of GEMM algorithms", path);
        } else if (strlen(line) != (size_t)length || !take_entry(&e, line)) {
            good = kernel_fail(err, KERNEL_FAILED,
                    "'%.160s':%d: damaged line (delete the file to time anew)", path,
                    number);
        } else if (find(table, &e.machine, &e.key)) {
            good = kernel_fail(err, KERNEL_FAILED, "'%.160s':%d: an entry given twice",
                    path, number);
        } else {
            good = add(table, &e, err);
        }
    }
    if (good && ferror(file)) {
        good = kernel_fail(err, KERNEL_FAILED, "cannot read '%.160s'", path);
    }
    free(line);
    return good;
}

bool algorithms_read(
        struct algorithms **out, const char *path, struct kernel_error *err) {
    *out = NULL;
    struct algorithms *table = calloc(1, sizeof(*table));
    if (!table) {
        return kernel_fail(err, KERNEL_OUT_OF_MEMORY, "no memory for GEMM algorithms");
    }
    FILE *file = path ? fopen(path, "re") : NULL;
    bool good = true;
    if (path && !file && errno != ENOENT) {
        good = kernel_fail(
                err, KERNEL_FAILED, "cannot open '%.160s': %s", path, strerror(errno));
    }
    if (file) {
        good = read_lines(table, file, path, err);
        fclose(file);
    }
    if (!good) {
        algorithms_destroy(table);
        return false;
    }
    *out = table;
    return true;
}

void algorithms_destroy(struct algorithms *table) {
    if (table) {
        free(table->entries);
        free(table);
    }
}

/* -- writing --------------------------------------------------------------------- */

// A bounded line under construction.
struct line {
    char text[LINE_MAX_BYTES];
    size_t length;
};

static void __attribute__((format(printf, 2, 3)))
append(struct line *l, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    int more = vsnprintf(
            l->text + l->length, sizeof(l->text) - l->length, format, arguments);
    va_end(arguments);
    assert(more >= 0 && l->length + (size_t)more < sizeof(l->text));
    l->length += (size_t)more;
}

static void write_line(struct line *l, const struct entry *e) {
    int64_t numbers[NUMBERS];
    memcpy(numbers, &e->key, sizeof(numbers));
    l->length = 0;
    append(l, "%s\t%s\t%s\t", e->machine.gpu, e->machine.driver, e->machine.library);
    for (int i = 0; i < NUMBERS; i++) {
        append(l, "%s=%lld%c", names[i], (long long)numbers[i],
                i + 1 < NUMBERS ? ' ' : '\t');
    }
    append(l, "%.2f\t", e->microseconds);
    for (int i = 0; i < ALGORITHM_BYTES; i++) {
        append(l, "%02x", e->data[i]);
    }
    append(l, "\t");
    append(l, "%016llx\n", (unsigned long long)hash(0, l->text, l->length));
}

static int by_line(const void *a, const void *b) {
    const struct entry *const *left = a, *const *right = b;
    int gpu = strcmp((*left)->machine.gpu, (*right)->machine.gpu);
    int driver = strcmp((*left)->machine.driver, (*right)->machine.driver);
    int library = strcmp((*left)->machine.library, (*right)->machine.library);
    int machine = gpu ? gpu : driver ? driver : library;
    return machine ? machine
                   : memcmp(&(*left)->key, &(*right)->key, sizeof((*left)->key));
}

static bool write_entries(const struct algorithms *table, FILE *file) {
    const struct entry **sorted = calloc(table->count + 1, sizeof(*sorted));
    bool good = sorted && fputs(heading, file) >= 0;
    for (size_t i = 0; sorted && i < table->count; i++) {
        sorted[i] = &table->entries[i];
    }
    if (sorted) {
        qsort(sorted, table->count, sizeof(*sorted), by_line);
    }
    for (size_t i = 0; good && i < table->count; i++) {
        struct line line;
        write_line(&line, sorted[i]);
        good = fputs(line.text, file) >= 0;
    }
    free(sorted);
    return good && fflush(file) == 0 && fsync(fileno(file)) == 0;
}

// The folder's own record of the new name.
static bool sync_folder(const char *path) {
    const char *slash = strrchr(path, '/');
    char *folder = slash ? strndup(path, (size_t)(slash - path) + 1) : strdup(".");
    int fd = folder ? open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
    bool good = fd >= 0 && fsync(fd) == 0;
    if (fd >= 0) {
        close(fd);
    }
    free(folder);
    return good;
}

bool algorithms_save(
        const struct algorithms *table, const char *path, struct kernel_error *err) {
    size_t size = strlen(path) + sizeof(".XXXXXX");
    char *beside = malloc(size);
    if (!beside) {
        return kernel_fail(err, KERNEL_OUT_OF_MEMORY, "no memory for GEMM algorithms");
    }
    snprintf(beside, size, "%s.XXXXXX", path);
    int fd = mkstemp(beside);
    FILE *file = fd >= 0 ? fdopen(fd, "w") : NULL;
    bool good = file && write_entries(table, file);
    int reason = errno;
    if (file ? fclose(file) != 0 && good : fd >= 0 && close(fd) != 0) {
        good = false;
        reason = errno;
    }
    if (good && (rename(beside, path) != 0 || !sync_folder(path))) {
        good = false;
        reason = errno;
    }
    if (!good) {
        kernel_fail(err, KERNEL_FAILED, "cannot write '%.160s': %s", path,
                strerror(reason));
        if (fd >= 0) {
            unlink(beside); // already gone where it was renamed
        }
    }
    free(beside);
    return good;
}

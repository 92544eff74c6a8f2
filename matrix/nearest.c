#include "matrix/nearest.h"

#include <ctype.h>
#include <limits.h>
#include <stdbool.h>
#include <string.h>

#define LONGEST 64 /* names are compared up to here, which bounds the work */
#define SEPARATORS "/,"

static int least(int a, int b) {
    return a < b ? a : b;
}

/* Edits that turn one word into the other: insert, delete, replace, swap neighbours. */
static int distance(const char *a, const char *b) {
    int rows[3][LONGEST + 1];
    int a_size = (int)strnlen(a, LONGEST), b_size = (int)strnlen(b, LONGEST);
    for (int j = 0; j <= b_size; j++) {
        rows[0][j] = j;
    }
    for (int i = 1; i <= a_size; i++) {
        int *now = rows[i % 3], *before = rows[(i + 2) % 3], *older = rows[(i + 1) % 3];
        now[0] = i;
        for (int j = 1; j <= b_size; j++) {
            int x = tolower((unsigned char)a[i - 1]);
            int y = tolower((unsigned char)b[j - 1]);
            int edits = before[j - 1] + (x != y);
            edits = least(edits, least(before[j], now[j - 1]) + 1);
            if (i > 1 && j > 1 && x == tolower((unsigned char)b[j - 2]) &&
                    y == tolower((unsigned char)a[i - 2])) {
                edits = least(edits, older[j - 2] + 1);
            }
            now[j] = edits;
        }
    }
    return rows[a_size % 3][b_size];
}

static int count_word(const char *list, const char *word, size_t size) {
    int count = 0;
    for (const char *at = list;; at++) {
        size_t n = strcspn(at, SEPARATORS);
        count += n == size && !strncmp(at, word, size);
        at += n;
        if (!*at) {
            return count;
        }
    }
}

/* Whether both have the same words, as the id of a cell whose axes were reordered. */
static bool is_reordered(const char *a, const char *b) {
    if (strlen(a) != strlen(b)) {
        return false;
    }
    for (const char *at = a;; at++) {
        size_t n = strcspn(at, SEPARATORS);
        if (count_word(a, at, n) != count_word(b, at, n)) {
            return false;
        }
        at += n;
        if (!*at) {
            return true;
        }
    }
}

void nearest_init(struct nearest *n, const char *wanted) {
    *n = (struct nearest){.wanted = wanted, .distance = INT_MAX};
}

void nearest_offer(struct nearest *n, const char *candidate) {
    int edits = distance(n->wanted, candidate);
    if (edits > 1 && is_reordered(n->wanted, candidate)) {
        edits = 1;
    }
    if (edits < n->distance) {
        n->distance = edits;
        n->best = candidate;
    }
}

const char *nearest_likely(const struct nearest *n) {
    int size = (int)strnlen(n->wanted, LONGEST);
    return n->best && n->distance <= (size < 6 ? 2 : size / 3) && n->distance < size
                   ? n->best
                   : NULL;
}

/* The built-in corpus: repeatable, of any size, and worth learning. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "worker/stories.h"

enum { SIZE = 400000, CONTEXTS = 1 << 20 };

static char *generate(uint64_t seed, size_t bytes) {
    char *out = malloc(bytes + 1);
    assert_non_null(out);
    out[bytes] = 1;
    stories_generate(seed, out, bytes);
    assert_int_equal(out[bytes], 1);
    return out;
}

static void same_seed_same_bytes_and_a_prefix(void **state) {
    (void)state;
    char *a = generate(1337, 10000), *b = generate(1337, 10000);
    char *other = generate(1338, 10000), *shorter = generate(1337, 4321);
    assert_memory_equal(a, b, 10000);
    assert_memory_equal(a, shorter, 4321);
    assert_int_not_equal(memcmp(a, other, 10000), 0);
    free(a);
    free(b);
    free(other);
    free(shorter);
}

static void any_size_is_filled(void **state) {
    (void)state;
    for (size_t bytes = 0; bytes < 700; bytes++) {
        char *s = generate(7, bytes);
        for (size_t i = 0; i < bytes; i++) {
            assert_true(s[i] == '\n' || (s[i] >= ' ' && s[i] <= '~'));
        }
        free(s);
    }
}

static void no_placeholder_is_left(void **state) {
    (void)state;
    char *s = generate(3, SIZE);
    assert_null(memchr(s, '$', SIZE));
    assert_null(memchr(s, '\0', SIZE));
    free(s);
}

/* Entropy in nats of the next byte, given the `order` bytes before it, counted on the
 * first half and measured on the second: what a table of n-grams would reach. */
static double loss_of_order(const char *s, int order) {
    // Contexts are hashed; a collision only makes the table worse.
    uint32_t(*counts)[96] = calloc(CONTEXTS, sizeof *counts);
    uint32_t *totals = calloc(CONTEXTS, sizeof *totals);
    assert_true(counts && totals);
    double loss = 0;
    for (int i = order; i < SIZE; i++) {
        uint32_t hash = 0;
        for (int k = 1; k <= order; k++) {
            hash = (hash ^ (unsigned char)s[i - k]) * 0x9e3779b1u;
        }
        hash >>= 12;
        int symbol = s[i] == '\n' ? 95 : s[i] - ' ';
        if (i < SIZE / 2) {
            counts[hash][symbol]++;
            totals[hash]++;
        } else {
            loss -= log((counts[hash][symbol] + 0.01) / (totals[hash] + 0.96));
        }
    }
    free(counts);
    free(totals);
    return loss / (SIZE - SIZE / 2);
}

static void context_pays(void **state) {
    (void)state;
    char *s = generate(1337, SIZE);
    double losses[5];
    for (int order = 0; order < 5; order++) {
        losses[order] = loss_of_order(s, order);
        print_message("order %d: %.3f nats a byte\n", order, losses[order]);
    }
    assert_true(losses[0] > 2.9 && losses[0] < 3.2);
    assert_true(losses[1] < 0.75 * losses[0]);
    assert_true(losses[2] < 0.75 * losses[1]);
    assert_true(losses[4] < 0.4 * losses[1]);
    // But it is not trivial: names, places and things stay to be guessed.
    assert_true(losses[4] > 0.15);
    free(s);
}

/* Pronouns and things agree: who "went" with "his" is never one of the women. */
static void pronouns_agree_with_names(void **state) {
    (void)state;
    char *s = generate(5, SIZE);
    s[SIZE - 1] = '\0';
    int seen = 0;
    for (const char *p = s; (p = strstr(p, "One day ")); p++) {
        char name[16], pronoun[16];
        if (sscanf(p, "One day %15s took %15s", name, pronoun) != 2) {
            continue; // broken off at the end
        }
        const char *women = " Anna Clara Emma Grace Iris Lily Nora Rose ";
        char padded[20];
        snprintf(padded, sizeof padded, " %s ", name);
        assert_string_equal(pronoun, strstr(women, padded) ? "her" : "his");
        seen++;
    }
    assert_true(seen > 50);
    free(s);
}

int main(void) {
    const struct CMUnitTest tests[] = {
            cmocka_unit_test(same_seed_same_bytes_and_a_prefix),
            cmocka_unit_test(any_size_is_filled),
            cmocka_unit_test(no_placeholder_is_left),
            cmocka_unit_test(context_pays),
            cmocka_unit_test(pronouns_agree_with_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

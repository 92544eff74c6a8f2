/*
 * What fuzz targets share. A target is one file with LLVMFuzzerTestOneInput(); linked
 * with libFuzzer it hunts (-DLM_FUZZ=ON, clang), linked with replay.c it runs over the
 * files of tests/fuzz/corpus/<target>, which every test run does.
 */
#ifndef TESTS_FUZZ_FUZZ_H
#define TESTS_FUZZ_FUZZ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

/* Unlike assert(), in every build: a broken promise is a crash, which fuzzers keep. */
static inline void fuzz_check(bool holds, const char *broken) {
    if (!holds) {
        fprintf(stderr, "broken promise: %s\n", broken);
        abort();
    }
}

#endif

/* Which build a worker is: what tells a fresh result from a stale one. */
#ifndef RUNNER_BUILD_H
#define RUNNER_BUILD_H

#include <stdbool.h>

#include "matrix/text.h"

/*
 * Append the identity of the program `argv` starts: the linker's build-id of an ELF
 * executable, else the SHA-256 of the file ("sha256:…"). Looked up in PATH where it has
 * no slash. Where the second word is a script ("….py") it is what `argv --build` prints
 * (its digest and the versions of what it stands on), else the script's SHA-256. The
 * answer is remembered for the life of the process.
 */
bool build_identify(char *const *argv, struct text *out, struct text *err);

/*
 * One sentence about the first script that was asked what it is and did not answer in
 * time, "" where there was none: nobody was kept from going on by it.
 */
const char *build_unanswered(void);

/* SHA-256 of a whole file, 64 hex digits. */
bool build_digest_file(const char *path, char out[65], struct text *err);

/*
 * What the parameter `data` stands for today: "" for the built-in generator, else one
 * SHA-256 over the names and contents of the files it names below $LM_DATA. False where
 * a file is missing or cannot be read. Remembered like build_identify().
 */
bool build_digest_data(const char *data, struct text *out, struct text *err);

#endif

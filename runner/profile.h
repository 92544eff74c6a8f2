/*
 * `--profile`: one attempt's rank 0 under the profiler at hand, its output kept in the
 * attempt's folder. What a profiler adds to every step makes such an attempt's numbers
 * nobody's: reports show that it was made and use none of them.
 */
#ifndef RUNNER_PROFILE_H
#define RUNNER_PROFILE_H

#include "matrix/text.h"

/* Append the path of the profiler at hand: `nsys`, else `ncu`, of PATH; nothing where
 * neither is there. */
void profile_find(struct text *out);

/* Its name, "nsys", from its path; "" from NULL. */
const char *profile_name(const char *profiler);

/*
 * The words that go before a command which it shall watch, NULL-terminated; its output
 * will be `<folder>/profile.…`. nsys traces the whole attempt; ncu a few kernels from
 * the measured steps, which it replays many times over. The caller owes
 * profile_free_words().
 */
char **profile_words(const char *profiler, const char *folder);
void profile_free_words(char **words);

/* Append the names of the files it has left in `folder`: "profile.nsys-rep". */
void profile_list(const char *folder, struct text *out);

#endif

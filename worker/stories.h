/*
 * Little stories from a seeded grammar: a corpus of any size that needs no download.
 *
 * They are made so that context pays: a character's name, kind and pronoun agree
 * through a whole story, the thing that was lost is the thing that is found, and where
 * it was left is where it is looked for. A model that only counts letters stays at
 * their entropy (about 3.1 nats a byte); one that reads gets far below it.
 */
#ifndef WORKER_STORIES_H
#define WORKER_STORIES_H

#include <stddef.h>
#include <stdint.h>

/*
 * Fill `out` with exactly `bytes` bytes of printable ASCII, spaces and newlines; the
 * last story may break off. The same seed gives the same bytes everywhere, and a
 * smaller size gives a beginning of a larger one's.
 */
void stories_generate(uint64_t seed, char *out, size_t bytes);

#endif

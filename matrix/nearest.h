/*
 * The known name nearest to what somebody typed, for "did you mean". Candidates are
 * offered one by one, so they may come from anywhere.
 */
#ifndef MATRIX_NEAREST_H
#define MATRIX_NEAREST_H

struct nearest {
    const char *wanted; /* not owned */
    const char *best;   /* the candidate so far nearest, not owned; NULL before any */
    int distance;       /* edits between the two; words in another order are one */
};

void nearest_init(struct nearest *n, const char *wanted);
void nearest_offer(struct nearest *n, const char *candidate);

/* The best candidate where it is near enough to be a slip of the finger, else NULL. */
const char *nearest_likely(const struct nearest *n);

#endif

/*
 * What every test of a report does: fill a folder by hand, report on it, look at the
 * files. What goes wrong on the way fails the test.
 */
#ifndef TESTS_HELPERS_SCENE_H
#define TESTS_HELPERS_SCENE_H

#include <stdbool.h>

#include "matrix/text.h"
#include "tests/helpers/folder.h"

#define MIB 1048576.0

struct scene {
    struct folder folder; /* of the matrix "demo" */
    char *path;
};

/* An empty folder, to be filled; the caller owes scene_close(). */
void scene_open(struct scene *s, const char *baseline);
void scene_close(struct scene *s);

/* Write the folder and every report on it. */
void scene_report(struct scene *s);

/* The text of a file that the report wrote; the caller's. */
char *scene_read(const struct scene *s, const char *name);

/* Whether the report wrote that file. */
bool scene_has(const struct scene *s, const char *name);

/* Fail unless that file holds these words, or where it does. */
void scene_says(const struct scene *s, const char *name, const char *words);
void scene_is_silent(const struct scene *s, const char *name, const char *words);

/*
 * Every row as wide as the header, and no unknown value written as a number. How many
 * rows there are.
 */
int scene_check_csv(const struct scene *s, const char *name);

/*
 * Fail unless `found` is the text of the file `golden`. Under LM_GOLDEN=write that file
 * is made anew from it; then read the difference.
 */
void scene_golden(const char *golden, const char *found);

/* Fail with `err`'s sentence unless `ok`; finishes it. */
void scene_done(bool ok, struct text *err);

#endif

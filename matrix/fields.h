/*
 * Typed fields of a JSON object that somebody else wrote. Readers of spec.json,
 * record.json and plan.json take every field through here: what is absent or has
 * another type is remembered, and asked for once at the end.
 */
#ifndef MATRIX_FIELDS_H
#define MATRIX_FIELDS_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "matrix/text.h"

struct fields {
    const json_t *object; /* not owned */
    const char *wrong;    /* first field found wrong, NULL where none is */
    const char *expected; /* what it should have been */
};

/* Parse a whole file's bytes. NULL, with a sentence, where they are no JSON object. */
json_t *fields_parse(
        const char *name, const char *bytes, size_t size, struct text *err);

/* Text of a field, "" where it is wrong; valid as long as the object. */
const char *fields_text(struct fields *f, const char *name);

/* Heap copy of the same; the caller's. */
char *fields_copy(struct fields *f, const char *name);

/* 12 lower-case hex digits into `out`, which takes 13 bytes. */
void fields_hash(struct fields *f, const char *name, char out[13]);

int64_t fields_integer(
        struct fields *f, const char *name, int64_t minimum, int64_t maximum);
bool fields_boolean(struct fields *f, const char *name);

/* A status name, or null for -1. */
int fields_status(struct fields *f, const char *name);

/* Borrowed reference of the given type, NULL where it is wrong. */
const json_t *fields_object(struct fields *f, const char *name);
const json_t *fields_array(struct fields *f, const char *name);

/* True where no field was wrong; else "name: found no <expected> '<field>'". */
bool fields_end(const struct fields *f, const char *name, struct text *err);

/* json_string() of anything: what is not UTF-8 is replaced, NULL is "". */
json_t *fields_string(const char *s);

/* A status by name, or null for -1. */
json_t *fields_status_json(int status);

#endif

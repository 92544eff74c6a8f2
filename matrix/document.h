/*
 * A matrix file, parsed and checked but not yet expanded: experiments with their fixed
 * values, axes, zips, excludes and includes. Every value remembers its line and column,
 * so that whatever is found wrong later can still say where it stands.
 */
#ifndef MATRIX_DOCUMENT_H
#define MATRIX_DOCUMENT_H

#include <stdbool.h>
#include <stddef.h>

#include "matrix/text.h"

struct document; /* opaque */

/*
 * Parse matrix file `path` (at most 1 MiB, depth ≤ 64, one YAML document). NULL with
 * "path:line:column: found …, expected …" where anything in it is wrong. The caller
 * owes document_destroy().
 */
struct document *document_read(const char *path, struct text *err);

/* As document_read() from memory; `name` stands for the path in sentences. */
struct document *document_parse(
        const char *name, const char *bytes, size_t size, struct text *err);

void document_destroy(struct document *d); /* NULL is fine */

const char *document_name(const struct document *d); /* base name without .yaml */
const char *document_path(const struct document *d);
const char *document_description(const struct document *d); /* "" where none */
const char *document_baseline(const struct document *d);    /* "" where none */
bool document_manual(const struct document *d);

#endif

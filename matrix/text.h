/*
 * A growable string, also the project's one error channel.
 *
 * A zeroed `struct text` is an empty text and needs no init. Fallible functions take
 * `struct text *err` last, return false on failure and then have added exactly one
 * sentence to it (lower case, no full stop, subject quoted); on success they leave it
 * untouched. `err` is never NULL.
 */
#ifndef MATRIX_TEXT_H
#define MATRIX_TEXT_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>

struct text {
    char *data;      /* NUL-terminated once non-NULL; NULL when nothing was added */
    size_t size;     /* bytes without the NUL */
    size_t capacity; /* bytes allocated */
};

/* Free what `t` owns and zero it. A zeroed text may be finished again. */
void text_finish(struct text *t);

/* Empty `t` but keep its memory. */
void text_clear(struct text *t);

/* The bytes as a C string, "" when empty. Valid until `t` next changes. */
const char *text_get(const struct text *t);

/* Hand the string over to the caller, who frees it; `t` is zeroed. Never NULL. */
char *text_take(struct text *t);

void text_add(struct text *t, const char *s);
void text_add_bytes(struct text *t, const void *bytes, size_t size);
void text_addf(struct text *t, const char *format, ...)
        __attribute__((format(printf, 2, 3)));
void text_vaddf(struct text *t, const char *format, va_list args);

/* Add the shortest decimal that reads back as `x`: "0.001", "1e-5". `x` is finite. */
void text_add_real(struct text *t, double x);

/* Add `size` bytes; what is not UTF-8, and NUL, becomes U+FFFD. */
void text_add_utf8(struct text *t, const char *bytes, size_t size);

/*
 * Add what somebody wrote so that it may stand in a sentence: quoted, on one line, its
 * first 60 bytes or so, with "…" where that is not all.
 */
void text_add_quoted(struct text *t, const char *s);

/* The length of the UTF-8 sequence at `bytes` (1 to 4), 0 where there is none. */
size_t text_utf8_length(const char *bytes, size_t size);

/*
 * Add a sentence to `err` and return false, so that a failing function can say
 * `return text_fail(err, "cannot open '%s': %s", path, strerror(errno));`.
 */
bool text_fail(struct text *err, const char *format, ...)
        __attribute__((format(printf, 2, 3)));

/* malloc/calloc/realloc/strdup that abort with a sentence instead of returning NULL. */
void *text_allocate(size_t bytes);
void *text_allocate_zeroed(size_t count, size_t bytes);
void *text_reallocate(void *old, size_t bytes);
char *text_copy(const char *s);

/*
 * What those call before they abort, with the bytes that were refused, so that a worker
 * can still report out of memory as the outcome it is. It must not allocate.
 */
void text_on_refusal(void (*handler)(size_t bytes));

#endif

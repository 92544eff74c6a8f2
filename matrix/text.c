#include "matrix/text.h"

#include <float.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void (*on_refusal)(size_t bytes);

void text_on_refusal(void (*handler)(size_t bytes)) {
    on_refusal = handler;
}

static void *check(void *p, size_t bytes) {
    if (!p) {
        if (on_refusal) {
            on_refusal(bytes);
        }
        fputs("lm-matrix: out of host memory\n", stderr);
        abort();
    }
    return p;
}

void *text_allocate(size_t bytes) {
    return check(malloc(bytes ? bytes : 1), bytes);
}

void *text_allocate_zeroed(size_t count, size_t bytes) {
    return check(calloc(count ? count : 1, bytes ? bytes : 1), count * bytes);
}

void *text_reallocate(void *old, size_t bytes) {
    return check(realloc(old, bytes ? bytes : 1), bytes);
}

char *text_copy(const char *s) {
    return check(strdup(s), strlen(s) + 1);
}

void text_finish(struct text *t) {
    free(t->data);
    *t = (struct text){0};
}

void text_clear(struct text *t) {
    t->size = 0;
    if (t->data) {
        t->data[0] = '\0';
    }
}

const char *text_get(const struct text *t) {
    return t->data ? t->data : "";
}

char *text_take(struct text *t) {
    char *data = t->data ? t->data : text_copy("");
    *t = (struct text){0};
    return data;
}

static void reserve(struct text *t, size_t extra) {
    size_t needed = t->size + extra + 1;
    if (needed <= t->capacity) {
        return;
    }
    size_t capacity = t->capacity ? t->capacity : 64;
    while (capacity < needed) {
        capacity *= 2;
    }
    t->data = text_reallocate(t->data, capacity);
    t->capacity = capacity;
}

void text_add_bytes(struct text *t, const void *bytes, size_t size) {
    reserve(t, size);
    if (size) {
        memcpy(t->data + t->size, bytes, size);
    }
    t->size += size;
    t->data[t->size] = '\0';
}

void text_add(struct text *t, const char *s) {
    text_add_bytes(t, s, strlen(s));
}

void text_vaddf(struct text *t, const char *format, va_list args) {
    va_list again;
    va_copy(again, args);
    char little[256]; // most of what is added fits, and needs no second pass
    int length = vsnprintf(little, sizeof little, format, args);
    if (length >= 0 && (size_t)length < sizeof little) {
        text_add_bytes(t, little, (size_t)length);
    } else if (length >= 0) {
        reserve(t, (size_t)length);
        vsnprintf(t->data + t->size, (size_t)length + 1, format, again);
        t->size += (size_t)length;
    }
    va_end(again);
}

void text_addf(struct text *t, const char *format, ...) {
    va_list args;
    va_start(args, format);
    text_vaddf(t, format, args);
    va_end(args);
}

void text_add_real(struct text *t, double x) {
    if (x > -1e15 && x < 1e15 && x == (double)(long long)x) {
        text_addf(t, "%lld", (long long)x);
        return;
    }
    char digits[40];
    // A decimal of up to 15 digits that reads back as x is what %.15g prints, unless x
    // is so small that it has fewer digits itself.
    for (int precision = x > -DBL_MIN && x < DBL_MIN ? 1 : 15; precision <= 17;
            precision++) {
        snprintf(digits, sizeof digits, "%.*g", precision, x);
        if (strtod(digits, NULL) == x) {
            break;
        }
    }
    // C writes 1e-05; JSON and people are content with 1e-5.
    char *e = strchr(digits, 'e');
    if (!e) {
        text_add(t, digits);
        return;
    }
    text_add_bytes(t, digits, (size_t)(e + 1 - digits));
    text_addf(t, "%ld", strtol(e + 1, NULL, 10));
}

size_t text_utf8_length(const char *bytes, size_t size) {
    const unsigned char *b = (const unsigned char *)bytes;
    if (!size) {
        return 0;
    }
    if (b[0] < 0x80) {
        return 1;
    }
    size_t length = b[0] >= 0xf0 ? 4 : b[0] >= 0xe0 ? 3 : 2;
    if (b[0] < 0xc2 || b[0] > 0xf4 || size < length) {
        return 0;
    }
    for (size_t i = 1; i < length; i++) {
        if ((b[i] & 0xc0) != 0x80) {
            return 0;
        }
    }
    // Overlong forms, surrogates, and what lies beyond U+10FFFF.
    if ((b[0] == 0xe0 && b[1] < 0xa0) || (b[0] == 0xed && b[1] >= 0xa0) ||
            (b[0] == 0xf0 && b[1] < 0x90) || (b[0] == 0xf4 && b[1] >= 0x90)) {
        return 0;
    }
    return length;
}

void text_add_utf8(struct text *t, const char *bytes, size_t size) {
    while (size) {
        size_t length = *bytes ? text_utf8_length(bytes, size) : 0;
        if (length) {
            text_add_bytes(t, bytes, length);
        } else {
            text_add(t, "\xef\xbf\xbd");
            length = 1;
        }
        bytes += length;
        size -= length;
    }
}

void text_add_quoted(struct text *t, const char *s) {
    size_t size = strlen(s), taken = 0;
    text_add(t, "'");
    while (taken < size && taken < 60) {
        size_t length = text_utf8_length(s + taken, size - taken);
        if (length == 1 && ((unsigned char)s[taken] < 0x20 || s[taken] == 0x7f)) {
            text_add(t, "?");
        } else {
            text_add_utf8(t, s + taken, length ? length : 1);
        }
        taken += length ? length : 1;
    }
    text_add(t, taken < size ? "…'" : "'");
}

bool text_fail(struct text *err, const char *format, ...) {
    va_list args;
    va_start(args, format);
    text_vaddf(err, format, args);
    va_end(args);
    return false;
}

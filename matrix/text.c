#include "matrix/text.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void *check(void *p) {
    if (!p) {
        fputs("lm-matrix: out of host memory\n", stderr);
        abort();
    }
    return p;
}

void *text_allocate(size_t bytes) {
    return check(malloc(bytes ? bytes : 1));
}

void *text_allocate_zeroed(size_t count, size_t bytes) {
    return check(calloc(count ? count : 1, bytes ? bytes : 1));
}

void *text_reallocate(void *old, size_t bytes) {
    return check(realloc(old, bytes ? bytes : 1));
}

char *text_copy(const char *s) {
    return check(strdup(s));
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
    int length = vsnprintf(NULL, 0, format, args);
    if (length >= 0) {
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

bool text_fail(struct text *err, const char *format, ...) {
    va_list args;
    va_start(args, format);
    text_vaddf(err, format, args);
    va_end(args);
    return false;
}

#include "reports/human.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define MINUS "\xe2\x88\x92"
#define TIMES "\xc3\x97"

// Digits after the point that leave three significant ones; none for a plain 0.
static int decimals_for_three(double magnitude) {
    return magnitude == 0 ? 0 : magnitude < 9.995 ? 2 : magnitude < 99.95 ? 1 : 0;
}

static void grouped(struct text *out, double x, int decimals) {
    char digits[400];
    int length = snprintf(digits, sizeof digits, "%.*f", decimals, fabs(x));
    const char *point = strchr(digits, '.');
    int whole = point ? (int)(point - digits) : length;
    if (x < 0 && strspn(digits, "0.") != (size_t)length) {
        text_add(out, MINUS);
    }
    for (int i = 0; i < whole; i++) {
        if (i && (whole - i) % 3 == 0) {
            text_add(out, ",");
        }
        text_add_bytes(out, digits + i, 1);
    }
    text_add(out, digits + whole);
}

static void shortened(struct text *out, double x) {
    static const char *const units[] = {"", "k", "M", "G", "T", "P"};
    double magnitude = fabs(x);
    int unit = 0;
    while (magnitude >= 999.5 && unit < 5) {
        magnitude /= 1000;
        unit++;
    }
    bool exact = unit == 0 && magnitude == floor(magnitude);
    grouped(out, x < 0 ? -magnitude : magnitude,
            exact ? 0 : decimals_for_three(magnitude));
    text_add(out, units[unit]);
}

static void bytes(struct text *out, double x) {
    double mib = x / 1048576;
    double magnitude = fabs(mib);
    int decimals = magnitude >= 999.95  ? 0
                   : magnitude >= 9.995 ? 1
                   : magnitude >= 0.095 ? 2
                                        : 4;
    grouped(out, mib, x == 0 ? 0 : decimals);
    text_add(out, " MiB");
}

static void seconds(struct text *out, double s) {
    if (s < 59.95) {
        grouped(out, s, decimals_for_three(s));
        text_add(out, " s");
        return;
    }
    double whole = floor(s + 0.5);
    if (whole < 3600) {
        text_addf(out, "%.0f min %02.0f s", floor(whole / 60), fmod(whole, 60));
        return;
    }
    double minutes = floor(s / 60 + 0.5);
    text_addf(out, "%.0f h %02.0f min", floor(minutes / 60), fmod(minutes, 60));
}

static void change(struct text *out, double x) {
    if (x >= 0.05) {
        text_add(out, "+");
    }
    grouped(out, x, fabs(x) >= 99.95 ? 0 : 1);
    text_add(out, " %");
}

// Four significant digits, but all the digits of a large whole part.
static void real(struct text *out, double x) {
    double magnitude = fabs(x);
    if (magnitude != 0 && (magnitude < 0.001 || magnitude >= 1e9)) {
        text_addf(out, "%.3g", x);
        return;
    }
    int decimals = magnitude == 0       ? 0
                   : magnitude < 0.1    ? 5
                   : magnitude < 9.9995 ? 3
                   : magnitude < 99.995 ? 2
                   : magnitude < 999.95 ? 1
                                        : 0;
    grouped(out, x, decimals);
}

void human_number(struct text *out, enum human_kind kind, double x) {
    if (!isfinite(x)) {
        return;
    }
    switch (kind) {
    case HUMAN_COUNT:
        grouped(out, x, 0);
        break;
    case HUMAN_SHORT:
        shortened(out, x);
        break;
    case HUMAN_BYTES:
        bytes(out, x);
        break;
    case HUMAN_MS:
        grouped(out, x, decimals_for_three(fabs(x)));
        text_add(out, " ms");
        break;
    case HUMAN_SECONDS:
        seconds(out, x);
        break;
    case HUMAN_RATIO:
        grouped(out, x, decimals_for_three(fabs(x)));
        text_add(out, TIMES);
        break;
    case HUMAN_PERCENT:
        grouped(out, x, fabs(x) >= 99.95 ? 0 : 1);
        text_add(out, " %");
        break;
    case HUMAN_CHANGE:
        change(out, x);
        break;
    case HUMAN_REAL:
        real(out, x);
        break;
    case HUMAN_PLAIN:
        text_addf(out, "%.7g", x);
        break;
    }
}

void human_phrase(struct text *out, const char *before, enum human_kind kind, double x,
        const char *after) {
    if (isfinite(x)) {
        text_add(out, before);
        human_number(out, kind, x);
        text_add(out, after);
    }
}

void human_range(struct text *out, enum human_kind kind, double low, double high) {
    struct text a = {0};
    struct text b = {0};
    human_number(&a, kind, low);
    human_number(&b, kind, high);
    text_add(out, text_get(&a));
    if (strcmp(text_get(&a), text_get(&b)) != 0) {
        text_addf(out, "%s%s", a.size && b.size ? " to " : "", text_get(&b));
    }
    text_finish(&a);
    text_finish(&b);
}

void human_time(struct text *out, int64_t unix_ms) {
    if (unix_ms <= 0) {
        return;
    }
    time_t s = (time_t)(unix_ms / 1000);
    struct tm tm;
    char buffer[64];
    if (gmtime_r(&s, &tm) &&
            strftime(buffer, sizeof buffer, "%Y-%m-%d %H:%M:%S UTC", &tm)) {
        text_add(out, buffer);
    }
}

void human_plural(struct text *out, size_t count, const char *singular) {
    human_number(out, HUMAN_COUNT, (double)count);
    text_addf(out, " %s%s", singular, count == 1 ? "" : "s");
}

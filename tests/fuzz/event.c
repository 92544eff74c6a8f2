/* Event files: whatever the lines, each is an event or one sentence. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "matrix/event.h"
#include "tests/fuzz/fuzz.h"

static void check_line(const char *line, size_t size) {
    struct event e;
    struct text err = {0};
    bool ok = event_parse(line, size, &e, &err);
    fuzz_check(ok == !err.size, "a failure without sentence, or a sentence without");
    fuzz_check(ok == (e.body != NULL), "an event without body, or garbage with one");
    if (ok) {
        fuzz_check(e.t_ms >= 0, "an event before the start");
        fuzz_check(e.kind != EVENT_HELLO ||
                           event_integer(&e, "protocol", 0) == EVENT_PROTOCOL,
                "a hello in another protocol");
        event_real(&e, "loss", 0);
        event_text(&e, "name", "");
        // What was understood is still understood once it was written again.
        char *again = json_dumps(e.body, JSON_COMPACT);
        struct event copy;
        bool same = strlen(again) > EVENT_LINE_MAX ||
                    event_parse(again, strlen(again), &copy, &err);
        fuzz_check(same, text_get(&err));
        if (strlen(again) <= EVENT_LINE_MAX) {
            fuzz_check(copy.kind == e.kind && copy.t_ms == e.t_ms, "another event");
            event_finish(&copy);
        }
        free(again);
    }
    event_finish(&e);
    text_finish(&err);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
    const char *at = (const char *)bytes, *end = at + size;
    while (at < end) {
        const char *newline = memchr(at, '\n', (size_t)(end - at));
        const char *stop = newline ? newline : end;
        check_line(at, (size_t)(stop - at));
        at = newline ? newline + 1 : end;
    }
    return 0;
}

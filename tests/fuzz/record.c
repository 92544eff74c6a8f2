/*
 * record.json, spec.json and plan.json: whatever the bytes, each reader takes them or
 * says one sentence, and a record that was taken is the same once written again.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "matrix/plan.h"
#include "matrix/record.h"
#include "matrix/spec.h"
#include "tests/fuzz/fuzz.h"

static void check_sentence(bool ok, struct text *err) {
    fuzz_check(ok == !err->size, "a failure without sentence, or a sentence without");
    text_clear(err);
}

static void check_record(const struct record *r) {
    struct text err = {0};
    json_t *root = record_to_json(r);
    fuzz_check(root != NULL, "a record that is no JSON");
    char *bytes = json_dumps(root, JSON_COMPACT);
    struct record back;
    fuzz_check(
            record_parse("again", bytes, strlen(bytes), &back, &err), text_get(&err));
    json_t *again = record_to_json(&back);
    fuzz_check(json_equal(root, again), "a record that changed");
    fuzz_check(record_metric(r, "val_loss") == record_metric(&back, "val_loss") ||
                       record_metric(r, "val_loss") != record_metric(r, "val_loss"),
            "a metric that changed");
    free(bytes);
    json_decref(root);
    json_decref(again);
    record_finish(&back);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
    struct text err = {0};
    struct record record;
    struct spec spec;
    struct plan plan;
    bool ok = record_parse("fuzz", (const char *)bytes, size, &record, &err);
    check_sentence(ok, &err);
    if (ok) {
        check_record(&record);
    }
    record_finish(&record);
    check_sentence(spec_parse("fuzz", (const char *)bytes, size, &spec, &err), &err);
    spec_finish(&spec);
    check_sentence(plan_parse("fuzz", (const char *)bytes, size, &plan, &err), &err);
    plan_finish(&plan);
    text_finish(&err);
    return 0;
}

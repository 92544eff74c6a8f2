/* Kernel × wrapper and scaling, as the report of a folder tells them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "tests/helpers/scene.h"

static void fewer_bytes_a_rank_are_called_less(void **state) {
    (void)state;
    static const char *const said[] = {"`b`, with 2.00 MiB less a rank.",
            "`b`, with no more memory a rank.", "`b`, with 2.00 MiB more a rank."};
    for (int i = 0; i < 3; i++) {
        struct scene s = {0};
        scene_open(&s, "");
        size_t a = folder_cell(&s.folder, "a", "a", "threads=1", NULL);
        size_t b =
                folder_cell(&s.folder, "b", "b", "threads=1 ranks=2 ddp=naive", NULL);
        folder_attempt(&s.folder, a, STATUS_OK, 100, 4 * MIB);
        folder_attempt(&s.folder, b, STATUS_OK, 150, (2 + 2 * i) * MIB);
        scene_report(&s);
        scene_says(&s, "demo_report.md", said[i]);
        scene_close(&s);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
            cmocka_unit_test(fewer_bytes_a_rank_are_called_less),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

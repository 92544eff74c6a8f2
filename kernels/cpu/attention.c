#include "kernels/cpu/attention.h"

#include <string.h>

const struct attention_kernel *CPU(attention)(const char *name) {
    const struct attention_kernel *all[] = {
            &CPU(attention_naive), &CPU(attention_fused), &CPU(attention_flash)};
    for (size_t i = 0; i < sizeof(all) / sizeof(*all); i++) {
        if (strcmp(all[i]->name, name) == 0) {
            return all[i];
        }
    }
    return NULL;
}

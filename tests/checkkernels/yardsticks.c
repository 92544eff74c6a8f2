#include "tests/checkkernels/yardsticks.h"

// Two sequences of 8,192 tokens have gpt2-b16's shapes in all but attention.
const struct yardstick yardsticks[YARDSTICKS] = {
        {"deep24", true, 512, 16, 4096, 256, 8, 10000, 10112, 186400000},
        {"base12", false, 768, 12, 3072, 512, 8, 50257, 50304, 124000000},
        {"gpt2-b16", false, 768, 12, 3072, 1024, 16, 50304, 50304, 124500000},
        {"small6", false, 512, 8, 2048, 512, 64, 10000, 10112, 24300000},
};

int64_t yardsticks_tokens(const struct yardstick *y) {
    return y->batch * y->seq_len;
}

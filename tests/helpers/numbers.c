#include "tests/helpers/numbers.h"

#include <stdlib.h>

#include "kernels/convert.h"

void numbers_put(void *data, enum dtype type, int64_t i, double value) {
    switch (type) {
    case DTYPE_F64:
        ((double *)data)[i] = value;
        return;
    case DTYPE_F32:
        ((float *)data)[i] = (float)value;
        return;
    case DTYPE_BF16:
        ((uint16_t *)data)[i] = bf16_from_f32(f32_from_f64_odd(value));
        return;
    case DTYPE_F16:
        ((uint16_t *)data)[i] = f16_from_f32(f32_from_f64_odd(value));
        return;
    case DTYPE_I32:
        ((int32_t *)data)[i] = (int32_t)value;
        return;
    case DTYPE_U8:
        ((uint8_t *)data)[i] = (uint8_t)(int)value; // a negative one wraps around
        return;
    }
    abort();
}

/* Numbers put into arrays of any type. */
#ifndef TESTS_HELPERS_NUMBERS_H
#define TESTS_HELPERS_NUMBERS_H

#include <stdint.h>

#include "kernels/tensor.h"

/* Element `i` of an array becomes `value`, rounded once where the type is a float. */
void numbers_put(void *data, enum dtype type, int64_t i, double value);

#endif

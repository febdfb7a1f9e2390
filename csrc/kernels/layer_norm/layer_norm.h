// layer_norm: out[t] = (x[t] - mean) / sqrt(var + eps) * weight + bias, var over E (population)
//   x, out [T, E] f32; weight, bias [E] f32.  Ba, Kiros and Hinton, 2016 (arXiv 1607.06450)
// groups, columns, first: as in rms_norm.
#pragma once

#include <cstdint>

#include "kernels/matmul/rows_for.h"

namespace genfast {

struct LayerNormArgs {
    const float* x;
    const float* weight;
    const float* bias;  // may be null
    float* out;         // may be x
    int64_t T, E;
    float eps;
    int64_t groups = 1;
    int64_t columns = 0;  // of a row; 0: groups * E
    int64_t first = 0;
    RowsFor rows_for = {};  // of out, where a group is a whole row; out is not x then
};

}  // namespace genfast

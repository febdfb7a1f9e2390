// rms_norm: out[t] = x[t] / sqrt(mean(x[t]^2) + eps) * weight (+ residual[t])
//   x, residual, out [T, E] f32; weight [E] f32.  Zhang and Sennrich, 2019 (arXiv 1910.07467)
// With groups, groups * E of a row's `columns`, from `first` on, are that many heads, each
// normalised by itself with a weight of its own; the other columns are copied.
#pragma once

#include <cstdint>

#include "kernels/matmul/rows_for.h"

namespace genfast {

struct RmsNormArgs {
    const float* x;
    const float* weight;
    float* out;  // may be x
    int64_t T, E;
    float eps;
    int64_t groups = 1;
    int64_t columns = 0;  // of a row; 0: groups * E
    int64_t first = 0;
    const float* residual = nullptr;  // without groups
    RowsFor rows_for = {};            // of out, where a group is a whole row; out is not x then
};

}  // namespace genfast

// modulate: out[n, p, c] = x[n, p, c] (one + scale[n, c]) + shift[n, c] + residual[n, p, c]
//   x, residual, out [N, P, C] f32; scale and shift: C numbers an item, items `stride` numbers
//   apart, one = 1 or 0. Peebles and Xie, 2022 (arXiv 2212.09748)
// add: out[t] = x[t] + y[t mod R]
//   x, out [T, C], y [R, C] f32
#pragma once

#include <cstdint>

namespace genfast {

struct ModulateArgs {
    const float* x;
    const float* scale;     // may be null: x itself
    const float* shift;     // may be null: 0
    const float* residual;  // may be null; may be out
    float* out;             // may be x
    int64_t N, P, C, stride;
    bool plus_one;
};

struct AddArgs {
    const float* x;
    const float* y;
    float* out;  // may be x
    int64_t T, C, R;
};

}  // namespace genfast

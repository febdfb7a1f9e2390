// modulate: out[n, p, c] = f(x[n, p, c] (one + scale[n, c]) + shift[n, c] + noise[p]) +
// residual[n, p, c]
//   x, residual, out [N, P, C] f32; scale and shift: C numbers an item, items `stride` numbers
//   apart, one = 1 or 0. Peebles and Xie, 2022 (arXiv 2212.09748); noise [P] (arXiv 1912.04958)
// add: out[t] = x[t] + y[t mod R]
//   x, out [T, C], y [R, C] f32
#pragma once

#include "kernels/activation/activation.h"

namespace genfast {

struct ModulateArgs {
    const float* x;
    const float* scale;     // may be null: x itself
    const float* shift;     // may be null: 0
    const float* residual;  // may be null; may be out
    float* out;             // may be x
    int64_t N, P, C, stride;
    bool plus_one;
    const float* noise = nullptr;  // may be null: 0
    Activation activation = Activation::none;
};

struct AddArgs {
    const float* x;
    const float* y;
    float* out;  // may be x
    int64_t T, C, R;
};

}  // namespace genfast

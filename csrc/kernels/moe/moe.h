// moe: a mixture of experts
//   out[t] = residual[t] + sum over t's experts e, ascending, of
//            weight * (f(x[t] @ gate_e^T) * (x[t] @ up_e^T)) @ down_e^T
//   x, residual, out [T, E] f32; routes [T, 2k] as route gives them; an expert has two matrices:
//   gate and up [2F, E], gated, and down [E, F] (quant/format.h)
//
// Each expert's tokens are gathered and go through matmul together: a row's bits do not depend on
// the others, so neither does this. Sums go in ascending order of experts, an fma each.
#pragma once

#include "kernels/activation/activation.h"
#include "quant/format.h"

namespace genfast {

struct MoeArgs {
    const float* x;
    const float* routes;
    const float* residual;  // may be null, may be out
    float* out;
    std::byte* scratch;      // moe_scratch_bytes, 64-byte aligned
    const Matrix* matrices;  // of expert e: 2e gate and up, 2e + 1 down
    int64_t T, experts, k;
    Activation activation;
};

}  // namespace genfast

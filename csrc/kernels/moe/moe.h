// moe: a mixture of experts
//   out[t] = residual[t] + sum over t's experts e, ascending, of
//            weight * ((f(x[t] @ gate_e^T) * (x[t] @ up_e^T)) @ down_e^T)
//   x, residual, out [T, E] f32; routes [T, 2k] as route gives them; an expert has two matrices:
//   gate and up [2F, E], gated, and down [E, F] (quant/format.h), and perhaps a bias for either
//
// Each expert's tokens are gathered and go through matmul together: a row's bits do not depend on
// the others, so neither does this. Sums go in ascending order of experts, an fma each.
#pragma once

#include "kernels/matmul/matmul.h"

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
    const float* up_bias = nullptr;     // [experts, 2F]; null: none
    const float* down_bias = nullptr;   // [experts, E]; null: none
    const Matrix* on_device = nullptr;  // of CUDA's kernels: the same matrices where they read them
};

// The two products of expert e on M tokens.
GENFAST_ANYWHERE MatmulArgs up_product(const MoeArgs& a, int64_t e, const float* x, int64_t M,
                                       float* hidden, std::byte* scratch) {
    const Matrix& w = a.matrices[2 * e];
    const float* bias = a.up_bias ? a.up_bias + e * w.N : nullptr;
    return {x, w, bias, nullptr, hidden, scratch, M, a.activation};
}
GENFAST_ANYWHERE MatmulArgs down_product(const MoeArgs& a, int64_t e, const float* hidden,
                                         int64_t M, float* result, std::byte* scratch) {
    const Matrix& w = a.matrices[2 * e + 1];
    const float* bias = a.down_bias ? a.down_bias + e * w.N : nullptr;
    return {hidden, w, bias, nullptr, result, scratch, M, Activation::none};
}

}  // namespace genfast

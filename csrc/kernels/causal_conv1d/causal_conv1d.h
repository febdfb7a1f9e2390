// causal_conv1d: out[t, c] = f(bias[c] + sum_k weight[k, c] * x[t - (W - 1) + k, c]), every channel
// by itself (depthwise), over the tokens of one sequence; before its first token x is 0.
//   x [T, C] f32: C of a row's `columns`, from `first` on; weight [W, C], bias [C] f32; out [T, C]
//   f is none or silu
//
// State: the last W - 1 tokens' x, [W - 1, C]. Numerics: fma in ascending k, from the bias on; so
// the result does not depend on chunking, on other rows or on threads.
#pragma once

#include "kernels/activation/activation.h"
#include "kernels/sequence_span.h"

namespace genfast {

constexpr int64_t kMaxConvWidth = 8;

struct CausalConv1dArgs {
    const float* x;
    const float* weight;
    const float* bias;  // may be null
    float* out;
    const SequenceSpan* spans;
    int64_t span_count;
    StateSlots state;
    int64_t C, W;           // W: 2 .. kMaxConvWidth
    int64_t columns;        // of a row of x
    int64_t first;          // of them, the first of x's
    Activation activation;  // none or silu
};

// Floats of a sequence's state.
static inline int64_t conv1d_state_floats(int64_t C, int64_t W) {
    return (W - 1) * C;
}

}  // namespace genfast

// wkv4: the attention of RWKV 4 (Peng et al., 2023, arXiv 2305.13048; upstream: modeling_rwkv.py)
// over the tokens of one sequence, every channel by itself: the mean of the values so far, token i
// of which weighs e^(k[i] + (t - 1 - i) w), and token t itself e^(k[t] + u).
//   k, v, out [T, C] f32; w [C], at most 0, u [C] f32
//
// State: [3, C]: the sums of weighted values and of weights of the tokens before, both to be
// multiplied by e^(the third), which keeps the largest weight at 1. Numerics: one fma for each sum;
// of the two exponentials by which old and new are scaled one is always e^0, so that one is
// computed; a token's result does not depend on chunking, on other rows or on threads.
#pragma once

#include "kernels/sequence_span.h"

namespace genfast {

struct Wkv4Args {
    const float* k;
    const float* v;
    const float* w;
    const float* u;
    float* out;
    const SequenceSpan* spans;
    int64_t span_count;
    StateSlots state;
    int64_t C;
};

// The exponent of sums without any token: beneath all others, and what is added to it is lost.
constexpr float kWkvNone = -1e38f;

// Floats of a sequence's state.
static inline int64_t wkv4_state_floats(int64_t C) {
    return 3 * C;
}

}  // namespace genfast

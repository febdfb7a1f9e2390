// group_norm: out[n, p, c] = f((x[n, p, c] + shift[n, c] - mean) / sqrt(var + eps) weight[c] +
// bias[c])
//   where mean and (population) var are those of x + shift over the P pixels of item n and the
//   C / groups channels of c's group.  Wu and He, 2018 (arXiv 1803.08494)
//   x, out [N, P, C] f32; weight, bias [C] f32; shift [N, C] f32, say the embedding of a timestep
//
// Numerics: each channel of kNormPixels pixels at a fixed place gives its mean and the squares
// around that; these are put together in ascending order in double. So threads change nothing, nor
// do the other items.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/activation/activation.h"

namespace genfast {

constexpr int64_t kNormPixels = 64;

struct GroupNormArgs {
    const float* x;
    const float* weight;  // may be null: 1
    const float* bias;    // may be null: 0
    const float* shift;   // may be null: 0
    float* out;           // may be x
    std::byte* scratch;   // group_norm_scratch_bytes, 64-byte aligned
    int64_t N, P, C, groups;
    float eps;
    Activation activation;
};

}  // namespace genfast

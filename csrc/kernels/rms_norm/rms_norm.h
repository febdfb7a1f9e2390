// rms_norm: out[t] = x[t] / sqrt(mean(x[t]^2) + eps) * weight
//   x, out [T, E] f32; weight [E] f32.  Zhang and Sennrich, 2019 (arXiv 1910.07467)
#pragma once

#include <cstdint>

namespace genfast {

struct RmsNormArgs {
    const float* x;
    const float* weight;
    float* out;  // may be x
    int64_t T, E;
    float eps;
};

}  // namespace genfast

// layer_norm: out[t] = (x[t] - mean) / sqrt(var + eps) * weight + bias, var over E (population)
//   x, out [T, E] f32; weight, bias [E] f32.  Ba, Kiros and Hinton, 2016 (arXiv 1607.06450)
#pragma once

#include <cstdint>

namespace genfast {

struct LayerNormArgs {
    const float* x;
    const float* weight;
    const float* bias;  // may be null
    float* out;         // may be x
    int64_t T, E;
    float eps;
};

}  // namespace genfast

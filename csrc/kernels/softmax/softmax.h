// softmax: out[t] = exp(x[t] - max) / sum   or, with log: x[t] - max - ln(sum)
//   x, out [T, V] f32
#pragma once

#include <cstdint>

namespace genfast {

struct SoftmaxArgs {
    const float* x;
    float* out;  // may be x
    int64_t T, V;
    bool log;
};

}  // namespace genfast

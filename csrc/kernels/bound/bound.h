// bound: out = min(max(x, -limit), limit); soft: limit * tanh(x / limit), element by element
//   The soft one is Gemma 2's soft capping (Gemma Team, 2024, arXiv 2408.00118).
#pragma once

#include <cstdint>

namespace genfast {

struct BoundArgs {
    const float* x;
    float* out;  // may be x
    int64_t count;
    float limit;  // > 0
    bool soft;
};

}  // namespace genfast

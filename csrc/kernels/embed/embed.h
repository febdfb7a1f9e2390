// embed: out[t] = table[ids[t]] * scale (+ residual[t])
//   ids [T] int32 in [0, N); table [N, E] in any weight format; residual, out [T, E] f32
#pragma once

#include "quant/format.h"

namespace genfast {

struct EmbedArgs {
    const int32_t* ids;
    Matrix table;
    const float* residual;  // may be null; may be out
    float* out;
    int64_t T;
    float scale = 1;
};

}  // namespace genfast

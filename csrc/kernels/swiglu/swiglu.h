// swiglu: out[t] = f(gate[t]) * up[t], x[t] = gate[t] followed by up[t]
//   x [T, 2F] f32, out [T, F] f32; f is silu (SwiGLU) or another activation (GeGLU ...;
//   clamped_silu: up[t] within 7, plus 1).
//   Shazeer, 2020 (arXiv 2002.05202)
#pragma once

#include "kernels/activation/activation.h"

namespace genfast {

struct SwigluArgs {
    const float* x;
    float* out;
    int64_t T, F;
    Activation kind;
};

}  // namespace genfast

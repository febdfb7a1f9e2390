// Rotary position embedding. Su et al., 2021 (arXiv 2104.09864)
//
// rope_table: the angles of this step's tokens, once for all layers
//   positions [T] int32; inv_freq [R/2] f32; table [T, R] f32: R/2 cosines, then R/2 sines, times
//   `scale` The angle is float(position) * inv_freq in float, as transformers computes it; its
//   cosine is taken in double. With dynamic_base > 0 (dynamic NTK scaling) a position p at or
//   beyond `dynamic_length` uses inv_freq_i = b^(-2i/R) with b = base * (factor*(p+1)/length -
//   (factor-1))^(R/(R-2)): a function of the position alone, so that no chunking changes it.
//
// rope: rotates the first R of the D numbers of each of the first `heads` heads of a row of x and
// copies
//   the rest of the row.  x, out [T, width] f32 (q, k, v side by side: heads = H + Hkv)
//   half-split pairs (i, i + R/2) as in Llama and NeoX, or interleaved pairs (2i, 2i + 1) as in
//   GPT-J
#pragma once

#include <cstdint>

namespace genfast {

struct RopeTableArgs {
    const int32_t* positions;
    const float* inv_freq;
    float* table;
    int64_t T, R;
    float scale;
    double dynamic_base;  // 0: no dynamic scaling
    double dynamic_factor;
    int64_t dynamic_length;
};

struct RopeArgs {
    const float* x;
    const float* table;
    float* out;  // may be x
    int64_t T, width, heads, D, R;
    bool interleaved;
};

}  // namespace genfast

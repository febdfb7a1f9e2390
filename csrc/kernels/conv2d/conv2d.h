// conv2d: out[n, y, x, o] = f(sum w[o, ky, kx, c] x[n, y s + ky - top, x s + kx - left, c] +
// bias[o])
//   + residual[n, y, x, o]
//   x [N, H, W, C] f32, zeros around it; w a packed matrix [O, kernel_h kernel_w C]; bias [O];
//   residual, out [N, out_h, out_w, O] f32
//
// It is a matmul whose row m is the patch under output pixel m, and its numerics are matmul's: the
// order of a sum depends on the kernel's size and C alone; int8 and int4 quantise patch by patch.
// A block of rows is packed at a time, so that packed rows do not grow with the image. Where blocks
// of 64 columns lie within a pixel, the rows of pixels that the block sees are rotated (int8) or
// rounded (bf16) once instead of once a patch: the same numbers.
#pragma once

#include "kernels/matmul/matmul.h"

namespace genfast {

struct Conv2dArgs {
    const float* x;
    Matrix w;
    const float* bias;      // may be null
    const float* residual;  // may be null; may be out
    float* out;
    std::byte* scratch;  // conv2d_scratch_bytes, 64-byte aligned
    int64_t N, H, W, C, out_h, out_w;
    int64_t kernel_h, kernel_w, stride, top, left;
    Activation activation;
};

}  // namespace genfast

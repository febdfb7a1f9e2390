// depthwise_conv2d: out[n, y, x, c] = f(sum w[ky, kx, c] u[n, y s + ky - top, x s + kx - left, c] +
// bias[c])
//   u is x with `up` - 1 rows and columns of zeros behind each of its own, and zeros around it; so
//   that up, taps and stride together are the resampling of StyleGAN (upfirdn)
//   x [N, H, W, C] f32; w [kernel_h kernel_w, C], or [kernel_h kernel_w, 1]: the same for all
//   channels; bias [C]; out [N, out_h, out_w, C] f32
//
// A sum goes from tap to tap in their order, leaving out those that fall on zeros.
#pragma once

#include "kernels/activation/activation.h"

namespace genfast {

struct DepthwiseConv2dArgs {
    const float* x;
    const float* w;
    const float* bias;  // may be null
    float* out;
    int64_t N, H, W, C, out_h, out_w;
    int64_t kernel_h, kernel_w, stride, up, top, left;
    bool shared;  // one tap for all channels
    Activation activation;
};

// The pixel of a side of `size` that position `at` of the enlarged side is, or -1: a zero.
static inline int64_t source_pixel(int64_t at, int64_t up, int64_t size) {
    return at < 0 || at % up || at / up >= size ? -1 : at / up;
}

}  // namespace genfast

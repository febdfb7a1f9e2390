// conv_transpose2d: out[n, y, x, o] = f(bias[o] + sum w[ky, kx, o, c] x[n, iy, ix, c]) over all
//   taps and input pixels with y = iy stride + ky - padding and x = ix stride + kx - padding
//   x [N, H, W, C] f32; w a packed matrix [kernel kernel O, C]; bias [O] f32;
//   out [N, (H - 1) stride - 2 padding + kernel, the same of W, O] f32
//
// One matmul gives every input pixel's part in every tap; an output pixel then adds up the parts
// that meet in it, ky and kx ascending, and its bias last. Nothing is multiplied with stuffed
// zeros.
#pragma once

#include "kernels/matmul/matmul.h"

namespace genfast {

struct ConvTranspose2dArgs {
    const float* x;
    Matrix w;
    const float* bias;  // may be null
    float* out;
    std::byte* scratch;  // conv_transpose2d_scratch_bytes, 64-byte aligned
    int64_t N, H, W, kernel, stride, padding;
    Activation activation;

    int64_t side(int64_t input) const { return (input - 1) * stride - 2 * padding + kernel; }
    int64_t channels() const { return w.N / (kernel * kernel); }
};

// fn(ky, kx, input pixel of the image) for all taps that meet in output pixel (y, x), in order.
template <class Fn>
static inline void each_tap(const ConvTranspose2dArgs& a, int64_t y, int64_t x, Fn fn) {
    for (int64_t ky = 0; ky < a.kernel; ++ky) {
        const int64_t down = y + a.padding - ky;
        if (down < 0 || down % a.stride || down / a.stride >= a.H) continue;
        for (int64_t kx = 0; kx < a.kernel; ++kx) {
            const int64_t across = x + a.padding - kx;
            if (across < 0 || across % a.stride || across / a.stride >= a.W) continue;
            fn(ky, kx, down / a.stride * a.W + across / a.stride);
        }
    }
}

}  // namespace genfast

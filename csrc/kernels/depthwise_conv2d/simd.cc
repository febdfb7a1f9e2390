#include "kernels/table.h"
#include "simd/activation.h"

namespace genfast::GENFAST_ISA {

// Channels [c, c + n) of one output pixel; row0, col0: where its first tap falls.
GENFAST_INLINE Vec sum_at(const DepthwiseConv2dArgs& a, const float* image, int64_t row0,
                          int64_t col0, int64_t c, int n) {
    Vec sum = a.bias ? vload_n(a.bias + c, n) : vzero();
    for (int64_t ky = 0; ky < a.kernel_h; ++ky) {
        const int64_t row = source_pixel(row0 + ky, a.up, a.H);
        if (row < 0) continue;
        for (int64_t kx = 0; kx < a.kernel_w; ++kx) {
            const int64_t col = source_pixel(col0 + kx, a.up, a.W);
            if (col < 0) continue;
            const int64_t tap = ky * a.kernel_w + kx;
            const Vec w = a.shared ? vset(a.w[tap]) : vload_n(a.w + tap * a.C + c, n);
            sum = vfma(w, vload_n(image + (row * a.W + col) * a.C + c, n), sum);
        }
    }
    return sum;
}

void depthwise_conv2d(const DepthwiseConv2dArgs& a, Team& team) {
    Range rows = share(a.N * a.out_h, team);
    for (int64_t i = rows.begin; i < rows.end; ++i) {
        const float* image = a.x + i / a.out_h * a.H * a.W * a.C;
        const int64_t row0 = i % a.out_h * a.stride - a.top;
        for (int64_t x = 0; x < a.out_w; ++x) {
            float* out = a.out + (i * a.out_w + x) * a.C;
            for (int64_t c = 0; c < a.C; c += kLanes) {
                const int n = int(a.C - c < kLanes ? a.C - c : kLanes);
                const Vec sum = sum_at(a, image, row0, x * a.stride - a.left, c, n);
                vstore_n(out + c, vactivate(a.activation, sum), n);
            }
        }
    }
}

}  // namespace genfast::GENFAST_ISA

#include "kernels/activation/formula.h"
#include "kernels/table.h"

namespace genfast::ref {

static double sum_at(const DepthwiseConv2dArgs& a, int64_t n, int64_t y, int64_t x, int64_t c) {
    double sum = a.bias ? a.bias[c] : 0;
    for (int64_t ky = 0; ky < a.kernel_h; ++ky)
        for (int64_t kx = 0; kx < a.kernel_w; ++kx) {
            const int64_t row = source_pixel(y * a.stride + ky - a.top, a.up, a.H);
            const int64_t col = source_pixel(x * a.stride + kx - a.left, a.up, a.W);
            if (row < 0 || col < 0) continue;
            const int64_t tap = ky * a.kernel_w + kx;
            sum += double(a.w[a.shared ? tap : tap * a.C + c]) *
                   a.x[((n * a.H + row) * a.W + col) * a.C + c];
        }
    return sum;
}

void depthwise_conv2d(const DepthwiseConv2dArgs& a, Team& team) {
    Range pixels = share(a.N * a.out_h * a.out_w, team);
    for (int64_t i = pixels.begin; i < pixels.end; ++i) {
        const int64_t n = i / (a.out_h * a.out_w), y = i / a.out_w % a.out_h, x = i % a.out_w;
        for (int64_t c = 0; c < a.C; ++c)
            a.out[i * a.C + c] = float(activate(a.activation, sum_at(a, n, y, x, c)));
    }
}

}  // namespace genfast::ref

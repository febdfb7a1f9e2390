#include "kernels/table.h"
#include "simd/activation.h"

namespace genfast::GENFAST_ISA {

// On one axis, the taps that do not fall on zeros: `tap`, `tap` + up, ..., `count` of them, on
// pixels `source`, `source` + 1, ...
struct Hits {
    int64_t tap, source, count;
};

// at: where tap 0 falls.
static Hits find_hits(int64_t at, int64_t up, int64_t kernel, int64_t size) {
    const int64_t source = at < 0 ? 0 : (at + up - 1) / up, tap = source * up - at;
    int64_t count = tap < kernel ? (kernel - tap + up - 1) / up : 0;
    if (count > size - source) count = size - source;
    return {tap, source, count < 0 ? 0 : count};
}

// Channels [c, c + n) of one output pixel; full: n is all lanes.
template <bool full>
GENFAST_INLINE Vec sum_at(const DepthwiseConv2dArgs& a, const float* image, const Hits& rows,
                          const Hits& cols, int64_t c, int n) {
    auto load = [&](const float* from) { return full ? vload(from) : vload_n(from, n); };
    Vec sum = a.bias ? load(a.bias + c) : vzero();
    for (int64_t j = 0; j < rows.count; ++j) {
        const float* x = image + ((rows.source + j) * a.W + cols.source) * a.C + c;
        int64_t tap = (rows.tap + j * a.up) * a.kernel_w + cols.tap;
        for (int64_t i = 0; i < cols.count; ++i, tap += a.up, x += a.C) {
            const Vec w = a.shared ? vset(a.w[tap]) : load(a.w + tap * a.C + c);
            sum = vfma(w, load(x), sum);
        }
    }
    return vactivate(a.activation, sum);
}

void depthwise_conv2d(const DepthwiseConv2dArgs& a, Team& team) {
    Range lines = share(a.N * a.out_h, team);
    for (int64_t line = lines.begin; line < lines.end; ++line) {
        const float* image = a.x + line / a.out_h * a.H * a.W * a.C;
        const Hits rows = find_hits(line % a.out_h * a.stride - a.top, a.up, a.kernel_h, a.H);
        for (int64_t x = 0; x < a.out_w; ++x) {
            const Hits cols = find_hits(x * a.stride - a.left, a.up, a.kernel_w, a.W);
            float* out = a.out + (line * a.out_w + x) * a.C;
            int64_t c = 0;
            for (; c + kLanes <= a.C; c += kLanes)
                vstore(out + c, sum_at<true>(a, image, rows, cols, c, kLanes));
            if (c < a.C) {
                const int n = int(a.C - c);
                vstore_n(out + c, sum_at<false>(a, image, rows, cols, c, n), n);
            }
        }
    }
}

}  // namespace genfast::GENFAST_ISA

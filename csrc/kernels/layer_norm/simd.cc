#include "kernels/norm_groups.h"
#include "kernels/table.h"
#include "simd/vec.h"

namespace genfast::GENFAST_ISA {

struct Sums {
    float sum, squares;
};

// The sums over a row of x - origin and of its square. Four accumulators hide the latency of an
// add; the order depends on E alone.
static Sums row_sums(const float* x, int64_t n, float origin) {
    Vec sum[4] = {vzero(), vzero(), vzero(), vzero()};
    Vec squares[4] = {vzero(), vzero(), vzero(), vzero()};
    Vec from = vset(origin);
    int64_t e = 0;
    for (; e + 4 * kLanes <= n; e += 4 * kLanes)
        for (int i = 0; i < 4; ++i) {
            Vec v = vsub(vload(x + e + i * kLanes), from);
            sum[i] = vadd(sum[i], v);
            squares[i] = vfma(v, v, squares[i]);
        }
    for (; e < n; e += kLanes) {
        int left = int(n - e < kLanes ? n - e : kLanes);
        Vec v = vkeep_n(vsub(vload_n(x + e, left), from), left, vzero());
        sum[0] = vadd(sum[0], v);
        squares[0] = vfma(v, v, squares[0]);
    }
    return {vsum(vadd(vadd(sum[0], sum[1]), vadd(sum[2], sum[3]))),
            vsum(vadd(vadd(squares[0], squares[1]), vadd(squares[2], squares[3])))};
}

void layer_norm(const LayerNormArgs& a, Team& team) {
    const float scale = 1.0f / float(a.E);
    each_group(a, team, [&](int64_t, const float* x, int64_t first, float* out) GENFAST_MEMBER {
        // A float mean is off by its own rounding, which counts where the row is far from zero. So
        // the row is measured from that mean, and what the sums find to be left is taken off then.
        float mean = row_sums(x, a.E, 0).sum * scale;
        Sums sums = row_sums(x, a.E, mean);
        float rest = sums.sum * scale, variance = sums.squares * scale - rest * rest;
        Vec factor = vset(1.0f / __builtin_sqrtf((variance > 0 ? variance : 0) + a.eps));
        for (int64_t e = 0; e < a.E; e += kLanes) {
            int n = int(a.E - e < kLanes ? a.E - e : kLanes);
            Vec centred = vsub(vsub(vload_n(x + e, n), vset(mean)), vset(rest));
            Vec weight = vmul(factor, vload_n(a.weight + first + e, n));
            Vec bias = a.bias ? vload_n(a.bias + first + e, n) : vzero();
            vstore_n(out + e, vfma(centred, weight, bias), n);
        }
    });
}

}  // namespace genfast::GENFAST_ISA

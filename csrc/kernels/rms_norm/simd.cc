#include "kernels/norm_groups.h"
#include "kernels/table.h"
#include "simd/vec.h"

namespace genfast::GENFAST_ISA {

// Four accumulators hide the latency of fma; the order of the sums depends on E alone.
static float sum_of_squares(const float* x, int64_t n) {
    Vec acc[4] = {vzero(), vzero(), vzero(), vzero()};
    int64_t e = 0;
    for (; e + 4 * kLanes <= n; e += 4 * kLanes)
        for (int i = 0; i < 4; ++i) {
            Vec v = vload(x + e + i * kLanes);
            acc[i] = vfma(v, v, acc[i]);
        }
    for (; e < n; e += kLanes) {
        Vec v = vload_n(x + e, int(n - e < kLanes ? n - e : kLanes));
        acc[0] = vfma(v, v, acc[0]);
    }
    return vsum(vadd(vadd(acc[0], acc[1]), vadd(acc[2], acc[3])));
}

void rms_norm(const RmsNormArgs& a, Team& team) {
    each_group(a, team, [&](int64_t t, const float* x, int64_t first, float* out) GENFAST_MEMBER {
        const float* weight = a.weight + first;
        const float* residual = a.residual ? a.residual + t * a.E : nullptr;
        float mean = sum_of_squares(x, a.E) / float(a.E);
        Vec factor = vset(1.0f / __builtin_sqrtf(mean + a.eps));
        for (int64_t e = 0; e < a.E; e += kLanes) {
            int n = int(a.E - e < kLanes ? a.E - e : kLanes);
            Vec scaled = vmul(vload_n(x + e, n), factor);
            Vec normed = vmul(scaled, vload_n(weight + e, n));
            if (residual) normed = vadd(normed, vload_n(residual + e, n));
            vstore_n(out + e, normed, n);
        }
    });
}

}  // namespace genfast::GENFAST_ISA

#include "kernels/moe/experts.h"
#include "simd/vec.h"

namespace genfast::GENFAST_ISA {

static void add_weighted(float* to, const float* from, float weight, int64_t n) {
    const Vec w = vset(weight);
    for (int64_t i = 0; i < n; i += kLanes) {
        const int some = int(n - i < kLanes ? n - i : kLanes);
        vstore_n(to + i, vfma(vload_n(from + i, some), w, vload_n(to + i, some)), some);
    }
}

void moe(const MoeArgs& a, Team& team) {
    run_experts(a, team, add_weighted);
}

size_t moe_scratch_bytes(const MoeArgs& sizes, int threads) {
    return scratch_bytes(sizes, threads);
}

}  // namespace genfast::GENFAST_ISA

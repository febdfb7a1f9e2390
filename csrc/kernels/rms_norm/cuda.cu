#include "cuda/norm_groups.h"
#include "kernels/table.h"

namespace genfast::cuda {

static __global__ void norm_roots(RmsNormArgs a) {
    wait_for_earlier_launches();
    const NormGroup group(a);
    float squares = 0;
    for (int64_t e = threadIdx.x; e < a.E; e += kThreads)
        squares = fmaf(group.x[e], group.x[e], squares);
    const float factor = 1 / sqrtf(block_sum(squares) / float(a.E) + a.eps);
    for (int64_t e = threadIdx.x; e < a.E; e += kThreads) {
        const float y = group.x[e] * factor * a.weight[group.at + e];
        group.out[e] = a.residual ? y + a.residual[group.t * a.E + e] : y;
    }
    copy_beside(a);
}

void rms_norm(const RmsNormArgs& a, Team& team) {
    if (team.index == 0) launch(norm_roots, norm_grid(a), kThreads, a);
}

}  // namespace genfast::cuda

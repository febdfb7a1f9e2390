#include "cuda/norm_groups.h"
#include "kernels/matmul/cuda_prepare.h"
#include "kernels/table.h"

namespace genfast::cuda {

static __global__ void norm_centred(LayerNormArgs a) {
    wait_for_earlier_launches();
    const NormGroup group(a);
    // A float mean is off by its own rounding, which counts where the row is far from zero: what is
    // left of the row is taken off then.
    float sum = 0, left = 0, squares = 0;
    for (int64_t e = threadIdx.x; e < a.E; e += kThreads) sum += group.x[e];
    const float mean = block_sum(sum) / float(a.E);
    for (int64_t e = threadIdx.x; e < a.E; e += kThreads) left += group.x[e] - mean;
    const float rest = block_sum(left) / float(a.E);
    for (int64_t e = threadIdx.x; e < a.E; e += kThreads) {
        const float off = group.x[e] - mean - rest;
        squares = fmaf(off, off, squares);
    }
    const float factor = 1 / sqrtf(block_sum(squares) / float(a.E) + a.eps);
    auto normed = [&](int64_t e) {
        const float y = (group.x[e] - mean - rest) * factor * a.weight[group.at + e];
        return a.bias ? y + a.bias[group.at + e] : y;
    };
    if (a.rows_for) return leave_row(a.rows_for, a.out, a.T, a.E, group.t, normed);
    for (int64_t e = threadIdx.x; e < a.E; e += kThreads) group.out[e] = normed(e);
    copy_beside(a);
}

void layer_norm(const LayerNormArgs& a, Team& team) {
    if (team.index == 0) launch(norm_centred, norm_grid(a), kThreads, a);
}

}  // namespace genfast::cuda

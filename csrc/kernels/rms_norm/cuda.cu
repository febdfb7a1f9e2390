#include "cuda/launch.h"
#include "kernels/table.h"

namespace genfast::cuda {

// A block for each group of a row; that of the first group copies what lies beside the groups.
static __global__ void norm_groups(RmsNormArgs a) {
    const int64_t used = a.groups * a.E, columns = a.columns ? a.columns : used;
    const int64_t t = blockIdx.x, at = int64_t(blockIdx.y) * a.E;
    const float* x = a.x + t * columns + a.first + at;
    float* out = a.out + t * columns + a.first + at;
    float squares = 0;
    for (int64_t e = threadIdx.x; e < a.E; e += kThreads) squares = fmaf(x[e], x[e], squares);
    const float factor = 1 / sqrtf(block_sum(squares) / float(a.E) + a.eps);
    for (int64_t e = threadIdx.x; e < a.E; e += kThreads) {
        const float y = x[e] * factor * a.weight[at + e];
        out[e] = a.residual ? y + a.residual[t * a.E + e] : y;
    }
    if (at > 0 || a.x == a.out) return;
    for (int64_t i = threadIdx.x; i < columns; i += kThreads)
        if (i < a.first || i >= a.first + used) a.out[t * columns + i] = a.x[t * columns + i];
}

void rms_norm(const RmsNormArgs& a, Team& team) {
    if (team.index == 0) launch(norm_groups, dim3(unsigned(a.T), unsigned(a.groups)), kThreads, a);
}

}  // namespace genfast::cuda

#include "kernels/matmul/cuda_prepare.h"
#include "kernels/rms_norm/cuda_root.h"
#include "kernels/table.h"

namespace genfast::cuda {

static __global__ void norm_roots(RmsNormArgs a) {
    wait_for_earlier_launches();
    const RootNorm normed(a);
    if (a.rows_for) return leave_row(a.rows_for, a.out, a.T, a.E, normed.group.t, normed);
    normed.write();
    copy_beside(a);
}

void rms_norm(const RmsNormArgs& a, Team& team) {
    if (team.index == 0) launch(norm_roots, norm_grid(a), kThreads, a);
}

}  // namespace genfast::cuda

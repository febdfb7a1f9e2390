#include <vector>

#include "kernels/matmul/patches.h"
#include "kernels/table.h"

namespace genfast::ref {

// All patches at once, then the reference's matmul.
void conv2d(const Conv2dArgs& a, Team& team) {
    const Patches patches{a.H,      a.W,   a.C,    a.out_h, a.out_w, a.kernel_h, a.kernel_w,
                          a.stride, a.top, a.left, 0,       {},      nullptr};
    const int64_t M = a.N * a.out_h * a.out_w;
    std::vector<float> rows(size_t(M * a.w.K));
    for (int64_t m = 0; m < M; ++m) gather_patch(patches, a.x, m, rows.data() + m * a.w.K);
    matmul({rows.data(), a.w, a.bias, a.residual, a.out, a.scratch, M, a.activation}, team);
}

size_t conv2d_scratch_bytes(const Conv2dArgs&, int) {
    return 0;
}

}  // namespace genfast::ref

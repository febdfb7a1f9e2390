// The norm over a head that wkv6 and wkv7 end with.
#pragma once

#include "kernels/wkv_head.h"
#include "simd/vec.h"

namespace genfast::GENFAST_ISA {

GENFAST_INLINE int lanes_from(int64_t at, int64_t end) {
    return int(end - at < kLanes ? end - at : kLanes);
}

struct HeadNorm {
    Vec mean, factor;
};

GENFAST_INLINE Vec normed(Vec y, const HeadNorm& norm) {
    return vmul(vsub(y, norm.mean), norm.factor);
}

GENFAST_INLINE HeadNorm head_norm(const float* y, int64_t D, float eps) {
    const float scale = 1.0f / float(D);
    Vec sum = vzero(), squares = vzero();
    for (int64_t j = 0; j < D; j += kLanes) sum = vadd(sum, vload_n(y + j, lanes_from(j, D)));
    const Vec mean = vset(vsum(sum) * scale);
    for (int64_t j = 0; j < D; j += kLanes) {
        const int n = lanes_from(j, D);
        const Vec off = vkeep_n(vsub(vload_n(y + j, n), mean), n, vzero());
        squares = vfma(off, off, squares);
    }
    return {mean, vset(1.0f / __builtin_sqrtf(vsum(squares) * scale + eps))};
}

}  // namespace genfast::GENFAST_ISA

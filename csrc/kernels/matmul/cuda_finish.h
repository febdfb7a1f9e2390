// From a sum over K to a number of the result.
#pragma once

#include "cuda/activation.h"
#include "kernels/matmul/cuda_rows.h"

namespace genfast::cuda {

__device__ inline uint32_t bits_of(float x) {
    return f32_to_bits(x);
}
__device__ inline uint32_t bits_of(int32_t x) {
    return uint32_t(x);
}
__device__ inline void add_bits(float& sum, uint32_t bits) {
    sum += bits_to_f32(bits);
}
__device__ inline void add_bits(int32_t& sum, uint32_t bits) {
    sum += int32_t(bits);
}

// The lane's row of a panel by row m of x: scales, bias, activation, up, residual.
template <class Sum>
__device__ void finish(const MatmulArgs& a, const Rows& rows, int64_t panel, int64_t m, Sum sum) {
    float y = float(sum);
    const std::byte* base = a.w.data + size_t(panel) * panel_bytes(a.w.format, a.w.K);
    if (a.w.format == Format::int8)
        y *= rows.scales[m] * int8::scales(base, a.w.K)[lane()];
    else if (a.w.format == Format::fp8)
        y *= int8::scales(base, a.w.K)[lane()];
    else if (a.w.format == Format::int4)
        y *= rows.scales[m];
    const int64_t n = row_at(a.w, {panel, lane()});
    if (a.bias && n >= 0) y += a.bias[n];
    const float up = __shfl_xor_sync(~0u, y, kPanelRows / 2);
    y = a.w.gated ? activate_gated(a.activation, y, up) : activate(a.activation, y);
    if (n < 0 || n >= outputs(a.w)) return;
    const int64_t at = m * out_row(a) + n;
    a.out[at] = a.residual ? y + a.residual[at] : y;
}

}  // namespace genfast::cuda

// From a sum over K to a number of the result.
#pragma once

#include "cuda/activation.h"
#include "kernels/matmul/cuda_prepare.h"

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

// A row of bf16 for the next product: the warp's numbers of a panel, each lane its column. Zeros
// where they end.
__device__ inline void leave_bf16(const MatmulArgs& a, int64_t panel, int64_t m, float y) {
    const int64_t K = outputs(a.w), k = panel * panel_outputs(a.w) + lane();
    const float own = k < K ? y : 0, next = __shfl_xor_sync(~0u, own, 1);
    const Rows to(a.out, a.rows_for.format, a.M, K);
    const int64_t words = to.steps * step_words(to.format);
    if (lane() < panel_outputs(a.w) && lane() % 2 == 0 && k / 2 < words)
        to.word(m, k / 2) = bf16_pair(own, next);
    const int64_t end = panel_count(a.w) * panel_outputs(a.w) / 2;
    if (panel == panel_count(a.w) - 1)
        for (int64_t i = end + lane(); i < words; i += kWarp) to.word(m, i) = 0;
    if (panel > 0 || m > 0) return;
    const int64_t counters = counter_count(to.format, to.count, a.rows_for.panels);
    for (int64_t i = lane(); i < counters; i += kWarp) to.counters[i] = 0;
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
    const bool there = n >= 0 && n < outputs(a.w);
    const int64_t at = m * out_row(a) + n;
    if (a.residual && there) y += a.residual[at];
    if (a.rows_for && is_bf16(a.rows_for.format)) return leave_bf16(a, panel, m, y);
    if (there) a.out[at] = y;
}

}  // namespace genfast::cuda

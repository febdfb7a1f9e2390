// What a warp sums of a panel in f32 or f16: a row of the panel each lane, acc = fma(x, w, acc),
// columns in ascending order.
#pragma once

#include "cuda/half.h"
#include "kernels/matmul/cuda_rows.h"

namespace genfast::cuda {

template <Format format>
__device__ inline float weight_at(const std::byte* panel, int64_t i) {
    if (format == Format::f32) return reinterpret_cast<const float*>(panel)[i];
    return half_to_float(reinterpret_cast<const uint16_t*>(panel)[i]);
}

template <Format format, int M>
struct FloatSums {
    using Sum = float;
    float sum[M] = {};

    // Of step s, by rows first ... first + M - 1.
    __device__ void add(const Matrix& w, const std::byte* panel, const Rows& rows, int64_t first,
                        int64_t s) {
        constexpr int step = step_columns(format);
        float weights[step];
#pragma unroll
        for (int i = 0; i < step; ++i) {
            const int64_t k = s * step + i;
            weights[i] = k < w.K ? weight_at<format>(panel, k * kPanelRows + lane()) : 0.0f;
        }
#pragma unroll
        for (int m = 0; m < M; ++m) {
            const uint32_t* x = rows.step(first + m, s);
#pragma unroll
            for (int i = 0; i < step; ++i) sum[m] = fmaf(bits_to_f32(x[i]), weights[i], sum[m]);
        }
    }

    // fn(m, row of the panel, sum) of all that are this lane's.
    template <class Fn>
    __device__ void each(Fn fn) const {
#pragma unroll
        for (int m = 0; m < M; ++m) fn(m, lane(), sum[m]);
    }
};

}  // namespace genfast::cuda

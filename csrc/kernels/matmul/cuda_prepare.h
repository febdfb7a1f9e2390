// Rows made ready for matmul: rounded, or rotated and quantised to the CPU's integers
// (kernels/matmul/activations.h). By whoever computes them, or by a launch before the product.
#pragma once

#include "cuda/tensor_core.h"
#include "kernels/matmul/cuda_rows.h"
#include "quant/int8.h"

namespace genfast::cuda {

// 64 columns by a warp: a lane has two neighbours. Those beyond the row are zeros.
struct RotatedPair {
    float low, high;

    // quant/rotation.h: `columns` are whole blocks of 64, 16, 4 and 1, whose sums are made in its
    // order.
    __device__ void rotate(int64_t columns) {
        const int i = 2 * lane();
        const int order = columns >= 64           ? 64
                          : i < columns / 16 * 16 ? 16
                          : i < columns / 4 * 4   ? 4
                                                  : 1;
        if (order > 1) {
            const float a = low, b = high;
            low = a + b;
            high = a - b;
        }
        for (int distance = 2; distance < kRotation; distance *= 2) {
            const float other_low = __shfl_xor_sync(~0u, low, distance / 2);
            const float other_high = __shfl_xor_sync(~0u, high, distance / 2);
            if (distance >= order) continue;
            const bool second = i & distance;
            low = second ? other_low - low : low + other_low;
            high = second ? other_high - high : high + other_high;
        }
        const float normal = order == 64 ? 0.125f : order == 16 ? 0.25f : order == 4 ? 0.5f : 1;
        low *= normal;
        high *= normal;
    }
};

// fn(k, pair) of every 64 columns from k on, up to `end`.
template <class X, class Fn>
__device__ inline void each_pair(const Rows& rows, int64_t end, X x, Fn fn) {
    for (int64_t k = warp() * kRotation; k < end; k += kWarps * kRotation) {
        const int64_t i = k + 2 * lane();
        RotatedPair pair{i < rows.K ? x(i) : 0.0f, i + 1 < rows.K ? x(i + 1) : 0.0f};
        if (rows.format == Format::int8) pair.rotate(rows.K - k);
        fn(k, pair);
    }
}

template <class X>
__device__ inline void quantise_row(const Rows& rows, int64_t m, X x) {
    constexpr int64_t step = step_columns(Format::int8);
    float largest = 0, poison = 0;  // poison: 0, or NaN once a value was infinite or NaN
    each_pair(rows, rows.K, x, [&](int64_t, RotatedPair pair) {
        largest = fmaxf(fmaxf(fabsf(pair.low), fabsf(pair.high)), largest);
        poison += (pair.low - pair.low) + (pair.high - pair.high);
    });
    largest = block_max(largest);
    poison = block_sum(poison);
    const bool finite = poison == 0;
    if (threadIdx.x == 0) rows.scales[m] = int8::scale_of(largest) + poison;
    const float inverse = finite ? int8::inverse_of(largest) : 0;
    each_pair(rows, rows.steps * step, x, [&](int64_t k, RotatedPair pair) {
        const int64_t column = k + 2 * lane();
        if (column >= rows.steps * step) return;
        const int32_t low = finite ? round_to_int(pair.low * inverse) : 0;
        const int32_t high = finite ? round_to_int(pair.high * inverse) : 0;
        reinterpret_cast<uint16_t*>(&rows.word(m, column / 4))[column % 4 / 2] =
            uint16_t((low & 255) | (high & 255) << 8);
    });
}

// Row m, by a block; x(k) is its number k, which each thread that needs it computes.
template <class X>
__device__ inline void prepare_row(const Rows& rows, int64_t m, X x) {
    if (is_quantised(rows.format)) return quantise_row(rows, m, x);
    auto column = [&](int64_t k) { return k < rows.K ? x(k) : 0.0f; };
    for (int64_t i = threadIdx.x; i < rows.steps * step_words(rows.format); i += kThreads)
        rows.word(m, i) = is_bf16(rows.format) ? bf16_pair(column(2 * i), column(2 * i + 1))
                                               : f32_to_bits(column(i));
}

// By a block, which has seen to it that no product is under way.
__device__ inline void clear_counters(const Rows& rows, int64_t panels) {
    const int64_t count = counter_count(rows.format, rows.count, panels);
    for (int64_t i = threadIdx.x; i < count; i += kThreads) rows.counters[i] = 0;
}

// Row m as `how` wants it, of all `count` rows that will lie at `place`: instead of floats. That of
// the first row clears the counters too.
template <class X>
__device__ inline void leave_row(const RowsFor& how, float* place, int64_t count, int64_t K,
                                 int64_t m, X x) {
    const Rows rows(place, how.format, count, K);
    prepare_row(rows, m, x);
    if (m == 0) clear_counters(rows, how.panels);
}

}  // namespace genfast::cuda

// A step of a panel on tensor cores: bf16, fp8, int8 and int4. The panel's 32 rows are two tiles of
// operand `a`, rows of x are the columns of `b` (cuda/tensor_core.h).
//
// Of the step's 8 words lane 4 g + t takes 2 t and 2 t + 1, which in int4 are the low and the high
// nibbles of one dword, and in fp8 its two halves, once they are bf16: the very operands that the
// same matrix in bf16 has, so the same sums.
#pragma once

#include <type_traits>

#include "cuda/e4m3.h"
#include "cuda/half.h"
#include "cuda/tensor_core.h"
#include "kernels/matmul/cuda_rows.h"
#include "quant/int4.h"

namespace genfast::cuda {

// A dword of 4 rows side by side is 16 bytes, a line 8 of these.
constexpr int kLine = 8;
__host__ __device__ constexpr int step_lines(Format format) {
    return format == Format::int4 || format == Format::fp8 ? 4 : 8;
}
// Bytes of the step in the panel that come before its lines: scales.
__host__ __device__ constexpr int64_t step_head(Format format) {
    return format == Format::int4 ? int4::kScaleBytes : 0;
}
__host__ __device__ constexpr int64_t step_bytes(Format format) {
    return step_head(format) + step_lines(format) * kLine * sizeof(uint4);
}
// How many lines of step s the panel has: columns end within a step, but not of int4.
template <Format format>
__device__ inline int64_t lines_left(const Matrix& w, int64_t s) {
    constexpr int64_t lines = step_lines(format), columns = step_columns(format) / lines;
    return format == Format::int4 ? lines : padded_k(format, w.K) / columns - s * lines;
}

// The f16 at `bits`, exactly.
__device__ inline float half_at(uint32_t bits) {
#if defined(__CUDA_ARCH__)
    float x;
    asm("cvt.f32.f16 %0, %1;" : "=f"(x) : "h"(uint16_t(bits)));
    return x;
#else
    return half_to_float(uint16_t(bits));
#endif
}

// The lane's words of a step of a panel. line(i): its 16 bytes of line i. head: the scales.
template <Format format>
struct Weights {
    TwoTiles tiles;
    float scale[4];  // of its rows: int4, whose 16 leaves with it

    template <class Line>
    __device__ Weights(Line line, const std::byte* head) {
        if constexpr (format == Format::int4) {
            const uint4 w = line(lane_word());
            const uint32_t words[] = {w.x, w.y, w.z, w.w};
#pragma unroll
            for (int i = 0; i < 4; ++i) {
                tiles.a[i / 2][i % 2] = low_nibbles(words[i]);
                tiles.a[i / 2][i % 2 + 2] = high_nibbles(words[i]);
            }
            const uint2 halves = reinterpret_cast<const uint2*>(head)[lane_row()];
            scale[0] = half_at(halves.x) * 0.0625f;
            scale[1] = half_at(halves.x >> 16) * 0.0625f;
            scale[2] = half_at(halves.y) * 0.0625f;
            scale[3] = half_at(halves.y >> 16) * 0.0625f;
        } else if constexpr (format == Format::fp8) {
            const uint4 w = line(lane_word());
            const uint2 rows[] = {e4m3_pairs(w.x), e4m3_pairs(w.y), e4m3_pairs(w.z),
                                  e4m3_pairs(w.w)};
            tiles = TwoTiles({rows[0].x, rows[1].x, rows[2].x, rows[3].x},
                             {rows[0].y, rows[1].y, rows[2].y, rows[3].y});
        } else {
            tiles = TwoTiles(line(2 * lane_word()), line(2 * lane_word() + 1));
        }
    }
};

// The lane's sums of a panel by 8 rows of x: of two tiles.
template <Format format>
struct MmaSums {
    using Sum = std::conditional_t<format == Format::int8, int32_t, float>;
    Sum sum[2][4] = {};

    __device__ void add(const Weights<format>& weights, uint2 x) {
#pragma unroll
        for (int i = 0; i < 2; ++i)
            if constexpr (is_bf16(format)) {
                mma_bf16(sum[i], weights.tiles.a[i], x);
            } else if constexpr (format == Format::int8) {
                mma_s8(sum[i], weights.tiles.a[i], x);
            } else {  // an exact sum of the group, then acc = fma(sum, scale, acc)
                int32_t dot[4] = {};
                mma_s8(dot, weights.tiles.a[i], x);
#pragma unroll
                for (int e = 0; e < 4; ++e)
                    sum[i][e] = fmaf(float(dot[e]), weights.scale[2 * i + e / 2], sum[i][e]);
            }
    }
    __device__ void add(const MmaSums& other) {
#pragma unroll
        for (int i = 0; i < 2; ++i)
#pragma unroll
            for (int e = 0; e < 4; ++e) sum[i][e] += other.sum[i][e];
    }
    // fn(row of x, row of the panel, sum)
    template <class Fn>
    __device__ void each(Fn fn) const {
#pragma unroll
        for (int i = 0; i < 2; ++i)
#pragma unroll
            for (int e = 0; e < 4; ++e) fn(lane_column(e), TwoTiles::row(i, e), sum[i][e]);
    }
};

// What a warp sums of a panel that streams from the device's memory: by M rows.
template <Format format, int M>
struct StreamedSums {
    using Sum = typename MmaSums<format>::Sum;
    static constexpr int kTiles = M / kMmaColumns;
    static_assert(M % kMmaColumns == 0);
    MmaSums<format> tiles[kTiles];

    __device__ void add(const Matrix& w, const std::byte* panel, const Rows& rows, int64_t first,
                        int64_t s) {
        const std::byte* step = panel + s * step_bytes(format);
        const uint4* lines = reinterpret_cast<const uint4*>(step + step_head(format));
        const int64_t left = lines_left<format>(w, s);
        const Weights<format> weights(
            [&](int i) { return i < left ? lines[i * kLine + lane_row()] : uint4{}; }, step);
#pragma unroll
        for (int j = 0; j < kTiles; ++j) {
            const int64_t m = first + j * kMmaColumns + lane_row();
            const uint2* x = reinterpret_cast<const uint2*>(rows.step(m, s)) + lane_word();
            tiles[j].add(weights, m < rows.count ? *x : uint2{});
        }
    }
    template <class Fn>
    __device__ void each(Fn fn) const {
#pragma unroll
        for (int j = 0; j < kTiles; ++j)
            tiles[j].each([&](int m, int row, Sum sum) { fn(j * kMmaColumns + m, row, sum); });
    }
};

}  // namespace genfast::cuda

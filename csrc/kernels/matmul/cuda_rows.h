// The rows of x as matmul's warps read them, and a step of 32 columns of a panel by them.
//
// Every lane of a warp reads the same words of a row, so these lie end to end: of a step of 32
// columns 32 floats (f32, f16), 16 pairs of bf16, or 8 quads of 8-bit integers, zeros where the
// columns end. Rows are padded to a whole tile, whose other rows nobody reads out.
#pragma once

#include "cuda/launch.h"
#include "kernels/matmul/matmul.h"
#include "quant/int4.h"
#include "quant/int8.h"

namespace genfast::cuda {

constexpr int64_t kStep = 32;
static_assert(kStep == kGroup && kWarp == kPanelRows);

struct Rows {
    uint32_t* words;  // [M, steps, words of a step]
    float* scales;    // [M]: int8, int4
    int32_t* sums;    // [M, steps]: int4, of a group's integers
};

__host__ __device__ inline int64_t steps_of(const Matrix& w) {
    return (w.K + kStep - 1) / kStep;
}
__host__ __device__ inline int64_t words_of_a_step(Format format) {
    return format == Format::bf16 ? 16 : format == Format::int8 || format == Format::int4 ? 8 : 32;
}
__host__ __device__ inline int64_t padded_rows(int64_t M) {
    return round_up(M, 16);
}
__host__ __device__ inline int64_t row_words(const Matrix& w) {
    return steps_of(w) * words_of_a_step(w.format);
}
__host__ __device__ inline size_t row_bytes(const Matrix& w, int64_t M) {
    return size_t(padded_rows(M) * round_up(row_words(w) + 1 + steps_of(w), 16)) * 4;
}
__host__ __device__ inline Rows rows_in(const MatmulArgs& a) {
    const int64_t M = padded_rows(a.M);
    uint32_t* words = reinterpret_cast<uint32_t*>(a.scratch);
    float* scales = reinterpret_cast<float*>(words + M * row_words(a.w));
    return {words, scales, reinterpret_cast<int32_t*>(scales + M)};
}

__device__ inline float column(const float* x, int64_t k, int64_t K) {
    return k < K ? x[k] : 0.0f;
}

__device__ inline uint32_t quad(const int32_t* q) {
    return (uint32_t(q[0]) & 255) | (uint32_t(q[1]) & 255) << 8 | (uint32_t(q[2]) & 255) << 16 |
           (uint32_t(q[3]) & 255) << 24;
}

// One row, by a block: the integers are those of the CPU (kernels/matmul/activations.h).
__device__ inline void quantise_row(const MatmulArgs& a, const Rows& rows, int64_t m) {
    const int64_t K = a.w.K;
    const float* x = a.x + m * x_row(a);
    const bool rotated = a.w.format == Format::int8;
    float part[kRotation];
    auto load = [&](int64_t k) {
        const int64_t columns = K - k < kRotation ? K - k : kRotation;
        for (int64_t i = 0; i < kRotation; ++i) part[i] = i < columns ? x[k + i] : 0.0f;
        if (rotated) rotate(part, columns);
    };
    float largest = 0, poison = 0;  // poison: 0, or NaN once a value was infinite or NaN
    for (int64_t k = threadIdx.x * kRotation; k < K; k += kThreads * kRotation) {
        load(k);
        for (float value : part) {
            largest = fmaxf(fabsf(value), largest);
            poison += value - value;
        }
    }
    largest = block_max(largest);
    poison = block_sum(poison);
    if (threadIdx.x == 0) rows.scales[m] = int8::scale_of(largest) + poison;
    const float inverse = poison == 0 ? int8::inverse_of(largest) : 0;
    for (int64_t k = threadIdx.x * kRotation; k < K; k += kThreads * kRotation) {
        load(k);
        for (int64_t s = k / kStep; s < steps_of(a.w) && s * kStep < k + kRotation; ++s) {
            int32_t sum = 0;
            for (int i = 0; i < kStep; i += 4) {
                int32_t q[4];
                for (int j = 0; j < 4; ++j) {
                    q[j] = poison == 0 ? round_to_int(part[s * kStep - k + i + j] * inverse) : 0;
                    sum += q[j];
                }
                rows.words[m * row_words(a.w) + s * 8 + i / 4] = quad(q);
            }
            rows.sums[m * steps_of(a.w) + s] = sum;
        }
    }
}

__device__ inline void prepare_row(const MatmulArgs& a, const Rows& rows, int64_t m) {
    const Format format = a.w.format;
    if (format == Format::int8 || format == Format::int4) return quantise_row(a, rows, m);
    const float* x = a.x + m * x_row(a);
    for (int64_t i = threadIdx.x; i < row_words(a.w); i += kThreads) {
        uint32_t& word = rows.words[m * row_words(a.w) + i];
        word = format == Format::bf16 ? uint32_t(f32_to_bf16(column(x, 2 * i, a.w.K))) |
                                            uint32_t(f32_to_bf16(column(x, 2 * i + 1, a.w.K))) << 16
                                      : f32_to_bits(column(x, i, a.w.K));
    }
}

// add<M>(w, panel, rows, first, s, sum): the lane's weights of step s times those of rows first ...
// first + M - 1.
template <Format format>
struct Step;

__device__ inline float low_half(uint32_t pair) {
    return bits_to_f32(pair << 16);
}
__device__ inline float high_half(uint32_t pair) {
    return bits_to_f32(pair & 0xffff0000u);
}

template <int M, class Fn>
__device__ inline void each_row(const Rows& rows, const Matrix& w, int64_t first, int64_t s,
                                Fn fn) {
    const int64_t words = words_of_a_step(w.format);
#pragma unroll
    for (int m = 0; m < M; ++m) fn(m, rows.words + (first + m) * row_words(w) + s * words);
}

// f32 and f16: acc = fma(x, w, acc), columns in ascending order.
template <class Load>
struct FloatStep {
    using Sum = float;
    template <int M>
    __device__ static void add(const Matrix& w, const std::byte* panel, const Rows& rows,
                               int64_t first, int64_t s, float (&sum)[M]) {
        float weights[kStep];
#pragma unroll
        for (int i = 0; i < kStep; ++i) {
            const int64_t k = s * kStep + i;
            weights[i] = k < w.K ? Load::at(panel, k * kPanelRows + lane()) : 0.0f;
        }
        each_row<M>(rows, w, first, s, [&](int m, const uint32_t* x) {
#pragma unroll
            for (int i = 0; i < kStep; ++i) sum[m] = fmaf(bits_to_f32(x[i]), weights[i], sum[m]);
        });
    }
};
struct LoadFloat {
    __device__ static float at(const std::byte* panel, int64_t i) {
        return reinterpret_cast<const float*>(panel)[i];
    }
};
struct LoadHalf {
    __device__ static float at(const std::byte* panel, int64_t i) {
        return f16_to_f32(reinterpret_cast<const uint16_t*>(panel)[i]);
    }
};
template <>
struct Step<Format::f32> : FloatStep<LoadFloat> {};
template <>
struct Step<Format::f16> : FloatStep<LoadHalf> {};

// Words of a panel's step, one a lane each; zeros beyond the columns.
template <int words>
__device__ inline void load_words(const std::byte* step, int64_t stored, uint32_t (&to)[words]) {
    const uint32_t* from = reinterpret_cast<const uint32_t*>(step) + lane();
#pragma unroll
    for (int i = 0; i < words; ++i) to[i] = i < stored ? from[i * kPanelRows] : 0u;
}

// bf16: the same, of each pair the second first, as on the CPU.
template <>
struct Step<Format::bf16> {
    using Sum = float;
    template <int M>
    __device__ static void add(const Matrix& w, const std::byte* panel, const Rows& rows,
                               int64_t first, int64_t s, float (&sum)[M]) {
        uint32_t weights[16];
        load_words(panel + s * 16 * kPanelRows * 4, padded_k(Format::bf16, w.K) / 2 - s * 16,
                   weights);
        each_row<M>(rows, w, first, s, [&](int m, const uint32_t* x) {
#pragma unroll
            for (int i = 0; i < 16; ++i) {
                sum[m] = fmaf(high_half(x[i]), high_half(weights[i]), sum[m]);
                sum[m] = fmaf(low_half(x[i]), low_half(weights[i]), sum[m]);
            }
        });
    }
};

// int8: exact, so the order is of no matter.
template <>
struct Step<Format::int8> {
    using Sum = int32_t;
    template <int M>
    __device__ static void add(const Matrix& w, const std::byte* panel, const Rows& rows,
                               int64_t first, int64_t s, int32_t (&sum)[M]) {
        uint32_t weights[8];
        load_words(panel + s * 8 * kPanelRows * 4, padded_k(Format::int8, w.K) / 4 - s * 8,
                   weights);
        each_row<M>(rows, w, first, s, [&](int m, const uint32_t* x) {
#pragma unroll
            for (int i = 0; i < 8; ++i) sum[m] = __dp4a(int(weights[i]), int(x[i]), sum[m]);
        });
    }
};

// int4: an exact sum of the group, then acc = fma(sum, scale, acc). A nibble is its weight plus 8.
template <>
struct Step<Format::int4> {
    using Sum = float;
    template <int M>
    __device__ static void add(const Matrix& w, const std::byte* panel, const Rows& rows,
                               int64_t first, int64_t s, float (&sum)[M]) {
        const std::byte* group = int4::group(panel, s);
        const float scale = f16_to_f32(reinterpret_cast<const uint16_t*>(group)[lane()]);
        uint32_t weights[4];
        load_words(group + int4::kScaleBytes, 4, weights);
        each_row<M>(rows, w, first, s, [&](int m, const uint32_t* x) {
            int32_t dot = int4::kLow * rows.sums[(first + m) * steps_of(w) + s];
#pragma unroll
            for (int i = 0; i < 4; ++i) {
                dot = __dp4a(int(weights[i] & 0x0f0f0f0fu), int(x[2 * i]), dot);
                dot = __dp4a(int(weights[i] >> 4 & 0x0f0f0f0fu), int(x[2 * i + 1]), dot);
            }
            sum[m] = fmaf(float(dot), scale, sum[m]);
        });
    }
};

}  // namespace genfast::cuda

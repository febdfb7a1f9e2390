// The rows of x as matmul's warps read them.
//
// A step is what is multiplied at once: 32 columns, of bf16 and fp8 16. Rows lie in eights, and of
// eight rows the words of a step end to end: 32 floats a row (f32, f16), or 8 words that are 16
// bf16 or 32 signed bytes, which is what a tensor core takes. Zeros where the columns end. Rows are
// padded to a whole tile, whose other rows nobody reads out.
#pragma once

#include "cuda/tensor_core.h"
#include "kernels/matmul/matmul.h"
#include "quant/int8.h"

namespace genfast::cuda {

static_assert(kWarp == kPanelRows);
constexpr int64_t kRowsTogether = 8;
constexpr int64_t kBlockSteps = 4;  // of wgmma

__host__ __device__ constexpr bool is_float(Format format) {
    return format == Format::f32 || format == Format::f16;
}
// Formats whose weights are bf16 numbers, and by which rows are so.
__host__ __device__ constexpr bool is_bf16(Format format) {
    return format == Format::bf16 || format == Format::fp8;
}
__host__ __device__ constexpr int64_t step_columns(Format format) {
    return is_bf16(format) ? 16 : 32;
}
__host__ __device__ constexpr int64_t step_words(Format format) {
    return is_float(format) ? 32 : 8;
}
__host__ __device__ inline int64_t steps_of(const Matrix& w) {
    return (w.K + step_columns(w.format) - 1) / step_columns(w.format);
}
__host__ __device__ inline int64_t blocks_of(const Matrix& w) {
    return (steps_of(w) + kBlockSteps - 1) / kBlockSteps;
}
__host__ __device__ inline int64_t padded_rows(int64_t M) {
    return round_up(M, 16);
}

struct Rows {
    uint32_t* words;
    float* scales;  // [M]: int8, int4
    int64_t count, steps;
    Format format;
    bool by_wgmma;

    // Of step s the first word of row m.
    __host__ __device__ uint32_t* step(int64_t m, int64_t s) const {
        return words + ((m / kRowsTogether * steps + s) * kRowsTogether + m % kRowsTogether) *
                           step_words(format);
    }
    // Of eight rows, the first of which is m: block b, a KB.
    __host__ __device__ uint32_t* block(int64_t m, int64_t b) const {
        return words + (m / kRowsTogether * steps + b * kBlockSteps) * kRowsTogether * kMmaWords;
    }
    // Word i along K of row m.
    __host__ __device__ uint32_t& word(int64_t m, int64_t i) const {
        if (!by_wgmma) return step(m, i / step_words(format))[i % step_words(format)];
        const int64_t at = i % (kBlockSteps * kMmaWords), of_step = at % 8 / 2, half = at % 2;
        return block(
            m, i / (kBlockSteps *
                    kMmaWords))[((of_step * 2 + half) * kRowsTogether + m % kRowsTogether) * 4 +
                                at / 8];
    }
};

__host__ __device__ inline size_t row_bytes(const Matrix& w, int64_t M) {
    return size_t(padded_rows(M) * (blocks_of(w) * kBlockSteps * step_words(w.format) + 1)) * 4;
}
__host__ __device__ inline Rows rows_in(const MatmulArgs& a, bool by_wgmma = false) {
    const int64_t M = padded_rows(a.M);
    const int64_t steps = by_wgmma ? blocks_of(a.w) * kBlockSteps : steps_of(a.w);
    uint32_t* words = reinterpret_cast<uint32_t*>(a.scratch);
    float* scales = reinterpret_cast<float*>(words + M * steps * step_words(a.w.format));
    return {words, scales, a.M, steps, a.w.format, by_wgmma};
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
    constexpr int64_t step = step_columns(Format::int8);
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
    for (int64_t k = threadIdx.x * kRotation; k < rows.steps * step; k += kThreads * kRotation) {
        load(k);
        for (int64_t s = k / step; s < rows.steps && s * step < k + kRotation; ++s)
            for (int i = 0; i < step; i += 4) {
                int32_t q[4];
                for (int j = 0; j < 4; ++j)
                    q[j] = poison == 0 ? round_to_int(part[s * step - k + i + j] * inverse) : 0;
                rows.word(m, (s * step + i) / 4) = quad(q);
            }
    }
}

template <Format format>
__device__ inline void prepare_row(const MatmulArgs& a, const Rows& rows, int64_t m) {
    if constexpr (format == Format::int8 || format == Format::int4) {
        quantise_row(a, rows, m);
    } else {
        constexpr int64_t words = step_words(format);
        const float* x = a.x + m * x_row(a);
        const int64_t K = a.w.K;
        for (int64_t i = threadIdx.x; i < rows.steps * words; i += kThreads)
            rows.word(m, i) = is_bf16(format)
                                  ? bf16_pair(column(x, 2 * i, K), column(x, 2 * i + 1, K))
                                  : f32_to_bits(column(x, i, K));
    }
}

}  // namespace genfast::cuda

// The rows of x as matmul's warps read them.
//
// A step is what is multiplied at once: 32 columns, of bf16 and fp8 16. Rows lie in eights, and of
// eight rows the words of a step end to end: 32 floats a row (f32, f16), or 8 words that are 16
// bf16 or 32 signed bytes, which is what a tensor core takes. Zeros where the columns end. Rows are
// padded to a whole tile, whose other rows nobody reads out. For Hopper's products four steps are a
// block, whose words lie in the order of shared memory (cuda_wgmma_stage.h).
#pragma once

#include "cuda/wgmma.h"
#include "kernels/matmul/matmul.h"

namespace genfast::cuda {

static_assert(kWarp == kPanelRows);
constexpr int64_t kRowsTogether = 8;
constexpr int64_t kFewRows = 64;   // up to so many the matrix is streamed; more go in tiles
constexpr int kMostStreamed = 16;  // rows at a time

__host__ __device__ constexpr bool is_float(Format format) {
    return format == Format::f32 || format == Format::f16;
}
__host__ __device__ constexpr bool is_quantised(Format format) {
    return format == Format::int8 || format == Format::int4;
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
__host__ __device__ inline int64_t steps_of(Format format, int64_t K) {
    return (K + step_columns(format) - 1) / step_columns(format);
}
__host__ __device__ inline int64_t padded_rows(int64_t M) {
    return round_up(M, 16);
}

__host__ __device__ inline bool streams(Format format, int64_t M) {
    return is_float(format) || M <= kFewRows;
}
__host__ __device__ inline int64_t streamed_tiles(int64_t M) {
    return (M + kMostStreamed - 1) / kMostStreamed;
}
// Of a product by so many panels: how many blocks are done, of each panel and tile of rows; and how
// many panels, of each tile.
__host__ __device__ inline int64_t counter_count(Format format, int64_t M, int64_t panels) {
    return streams(format, M) ? (panels + 1) * streamed_tiles(M) : 0;
}

// Whether M rows are multiplied by Hopper's own products, and lie for them.
__host__ __device__ inline bool by_wgmma(Format format, int64_t M) {
    if (format != Format::bf16 && (format != Format::int8 || M <= kFewRows)) return false;
#if defined(__CUDA_ARCH__) && defined(GENFAST_WGMMA)
    return true;
#elif defined(__CUDA_ARCH__)
    return false;
#else
    return has_wgmma();
#endif
}
constexpr int64_t kBlockSteps = 4;  // of a stage of these
// With those that fill up the last block.
__host__ __device__ inline int64_t stored_steps(Format format, int64_t M, int64_t K) {
    const int64_t steps = steps_of(format, K);
    return by_wgmma(format, M) ? round_up(steps, kBlockSteps) : steps;
}

struct Rows {
    uint32_t* words;
    float* scales;       // [M]: int8, int4
    unsigned* counters;  // zeros before and after a product
    int64_t count, K, steps;
    Format format;
    bool in_blocks;

    // `count` rows of K numbers that lie at `place`.
    __host__ __device__ Rows(void* place, Format format, int64_t count, int64_t K)
        : words(static_cast<uint32_t*>(place)),
          count(count),
          K(K),
          steps(stored_steps(format, count, K)),
          format(format),
          in_blocks(by_wgmma(format, count)) {
        const int64_t M = padded_rows(count);
        scales = reinterpret_cast<float*>(words + M * steps * step_words(format));
        counters = reinterpret_cast<unsigned*>(scales + M);
    }

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
        if (!in_blocks) return step(m, i / step_words(format))[i % step_words(format)];
        constexpr int64_t words_of_block = kBlockSteps * kMmaWords;
        const int64_t at = i % words_of_block, of_step = at % 8 / 2, half = at % 2;
        const int64_t line = (of_step * 2 + half) * kRowsTogether + m % kRowsTogether;
        return block(m, i / words_of_block)[line * 4 + at / 8];
    }
};

// With the counters of a product by so many panels; what follows may be loaded 16 bytes at a time.
__host__ __device__ inline size_t rows_bytes(Format format, int64_t M, int64_t K, int64_t panels) {
    const int64_t words = padded_rows(M) * (stored_steps(format, M, K) * step_words(format) + 1) +
                          counter_count(format, M, panels);
    return size_t(round_up(words, 4)) * 4;
}
__host__ __device__ inline size_t rows_bytes(const Matrix& w, int64_t M) {
    return rows_bytes(w.format, M, w.K, panel_count(w));
}
// Those that a product reads: at x, if somebody left them there, else in scratch.
__host__ __device__ inline Rows rows_in(const MatmulArgs& a) {
    void* place = a.prepared ? const_cast<float*>(a.x) : reinterpret_cast<float*>(a.scratch);
    return {place, a.w.format, a.M, a.w.K};
}

}  // namespace genfast::cuda

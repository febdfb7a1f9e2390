// Few rows by a matrix that streams from memory once: 16 rows at a time, all formats.
//
// K is cut into slices, a function of N and K alone: each warp of a block sums one, and slices are
// added in ascending order. Where several blocks share a panel they leave their sums in scratch,
// and whichever comes last adds them up. Rows that are to be quantised for the next product are so
// by the block that finishes the last panel.
#pragma once

#include "cuda/last_block.h"
#include "kernels/matmul/cuda_finish.h"
#include "kernels/matmul/cuda_float.h"
#include "kernels/matmul/cuda_mma.h"
#include "kernels/matmul/cuda_prepare.h"

namespace genfast::cuda {

constexpr int64_t kEnoughBlocks = 264;  // two for each of an H200's 132 multiprocessors
constexpr int64_t kLeastColumns = 256;  // of a slice
// Rows that the block which comes last quantises: more would wait for it.
constexpr int64_t kMostQuantised = 2;

// Blocks that share a panel: each warp of each of them has a slice of K.
inline int64_t blocks_of_a_panel(const Matrix& w) {
    const int64_t wanted = (kEnoughBlocks + panel_count(w) - 1) / panel_count(w);
    const int64_t most = w.K / (kWarps * kLeastColumns);
    return wanted < most ? wanted : most < 1 ? 1 : most;
}
inline int64_t streamed_slices(const Matrix& w) {
    return blocks_of_a_panel(w) * kWarps;
}
__host__ __device__ inline int64_t slice_begin(int64_t slice, int64_t slices, int64_t steps) {
    return steps * slice / slices;
}

// Scratch: the rows, unless somebody else left them (cuda_rows.h); for each panel and tile of rows
// the sums of the slices; then the result's rows, as far as they are quantised.
inline size_t part_bytes(const Matrix& w, int64_t M, int64_t slices) {
    return size_t(panel_count(w) * streamed_tiles(M) * slices * kMostStreamed * kPanelRows) *
           sizeof(uint32_t);
}
inline size_t quantised_bytes(const Matrix& w, int64_t M) {
    return size_t((M < kMostQuantised ? M : kMostQuantised) * outputs(w)) * sizeof(float);
}
struct Parts {
    uint32_t* sums;
    float* quantised;  // rows that will be so, [M, outputs]
};
__host__ __device__ inline Parts parts_in(const MatmulArgs& a, int64_t slices) {
    std::byte* from = a.scratch + (a.prepared ? 0 : rows_bytes(a.w, a.M));
    uint32_t* sums = reinterpret_cast<uint32_t*>(from);
    const int64_t tiles = panel_count(a.w) * streamed_tiles(a.M);
    return {sums, reinterpret_cast<float*>(sums + tiles * slices * kMostStreamed * kPanelRows)};
}

template <Format format, int M>
using WarpSums =
    std::conditional_t<is_float(format), FloatSums<format, M>, StreamedSums<format, M>>;

// Block (p, b): panel p, the b-th part of K; rows [t * M, t * M + M), the t-th of `tiles` tiles.
// Whether it finished the panel.
template <Format format, int M>
__device__ bool multiply_tile(const MatmulArgs& a, int64_t t, int64_t tiles) {
    using Sum = typename WarpSums<format, M>::Sum;
    __shared__ uint32_t of_block[kWarps * M * kPanelRows];
    const int64_t panel = blockIdx.x, first = t * M;
    const int64_t slices = int64_t(gridDim.y) * kWarps,
                  slice = int64_t(blockIdx.y) * kWarps + warp();
    const Rows rows = rows_in(a);

    WarpSums<format, M> mine;
    const std::byte* base = a.w.data + size_t(panel) * panel_bytes(format, a.w.K);
    const int64_t end = slice_begin(slice + 1, slices, rows.steps);
#pragma unroll 4
    for (int64_t s = slice_begin(slice, slices, rows.steps); s < end; ++s)
        mine.add(a.w, base, rows, first, s);

    // [slices, M, rows of the panel]
    const bool alone = gridDim.y == 1;
    const Parts parts = parts_in(a, slices);
    const int64_t tile = panel * tiles + t;
    uint32_t* sums = alone ? of_block : parts.sums + tile * slices * M * kPanelRows;
    mine.each(
        [&](int m, int row, Sum sum) { sums[(slice * M + m) * kPanelRows + row] = bits_of(sum); });
    if (alone)
        __syncthreads();
    else if (!comes_last(rows.counters + tile, gridDim.y))
        return false;
    for (int m = warp(); m < M && first + m < a.M; m += kWarps) {
        Sum total = {};
        for (int64_t of = 0; of < slices; ++of)
            add_bits(total, sums[(of * M + m) * kPanelRows + lane()]);
        finish(a, rows, panel, first + m, total);
    }
    return true;
}

// Quantises the rows that `a` gave, once they are whole: by the block that finishes the last panel.
__device__ inline void leave_quantised(const MatmulArgs& a, const float* rows) {
    if (!comes_last(rows_in(a).counters + gridDim.x, gridDim.x)) return;
    const int64_t K = outputs(a.w);
    for (int64_t m = 0; m < a.M; ++m)
        leave_row(a.rows_for, a.out, a.M, K, m, [&](int64_t k) { return rows[m * K + k]; });
}

// The first 4 KB of what the warp will read of its panel, while earlier launches end.
template <Format format>
__device__ void prefetch_slice(const MatmulArgs& a) {
    const int64_t slices = int64_t(gridDim.y) * kWarps,
                  slice = int64_t(blockIdx.y) * kWarps + warp();
    const int64_t steps = steps_of(format, a.w.K);
    const int64_t at = slice_begin(slice, slices, steps) * step_bytes(format) + lane() * 128;
    const int64_t end = slice_begin(slice + 1, slices, steps) * step_bytes(format);
    const int64_t panel = int64_t(panel_bytes(format, a.w.K));
    if (at < end && at < panel) prefetch(a.w.data + blockIdx.x * panel + at);
}

// quantises: a kernel of its own, as that takes registers.
template <Format format, int M, bool quantises = false>
__global__ void multiply_streamed(MatmulArgs a) {
    if constexpr (!is_float(format)) prefetch_slice<format>(a);
    wait_for_earlier_launches();
    if constexpr (quantises) {
        MatmulArgs floats = a;
        floats.out = parts_in(a, int64_t(gridDim.y) * kWarps).quantised;
        if (multiply_tile<format, M>(floats, 0, 1)) leave_quantised(a, floats.out);
    } else {
        multiply_tile<format, M>(a, blockIdx.z, gridDim.z);
    }
}
template <Format format, int M>
__global__ void multiply_each(const MatmulArgs* each) {
    wait_for_earlier_launches();
    const MatmulArgs a = each[blockIdx.z];
    if (a.M > 0) multiply_tile<format, M>(a, 0, 1);
}

template <Format format>
void launch_streamed(const MatmulArgs& a) {
    dim3 grid(unsigned(panel_count(a.w)), unsigned(blocks_of_a_panel(a.w)));
    if constexpr (is_float(format)) {
        if (a.M == 1) return launch(multiply_streamed<format, 1>, grid, kThreads, a);
        if (a.M <= 4) return launch(multiply_streamed<format, 4>, grid, kThreads, a);
    } else {
        if constexpr (is_quantised(format))
            if (a.rows_for && is_quantised(a.rows_for.format))
                return launch(multiply_streamed<format, 8, true>, grid, kThreads, a);
        if (a.M <= 8) return launch(multiply_streamed<format, 8>, grid, kThreads, a);
    }
    grid.z = unsigned(streamed_tiles(a.M));
    launch(multiply_streamed<format, kMostStreamed>, grid, kThreads, a);
}

// `count` products of at most M rows by matrices like w, listed in the device's memory.
template <Format format>
void launch_each(const Matrix& w, const MatmulArgs* each, int64_t count, int64_t M) {
    constexpr int few = is_float(format) ? 1 : 8;
    const dim3 grid(unsigned(panel_count(w)), unsigned(blocks_of_a_panel(w)), unsigned(count));
    if (M <= few) return launch(multiply_each<format, few>, grid, kThreads, each);
    launch(multiply_each<format, kMostStreamed>, grid, kThreads, each);
}

}  // namespace genfast::cuda

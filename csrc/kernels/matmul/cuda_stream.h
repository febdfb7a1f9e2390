// Few rows by a matrix that streams from memory once: 16 rows at a time, all formats.
//
// K is cut into slices, a function of N and K alone: each warp of a block sums one, and slices are
// added in ascending order. Where several blocks share a panel they leave their sums in scratch,
// and whichever comes last adds them up.
#pragma once

#include "kernels/matmul/cuda_finish.h"
#include "kernels/matmul/cuda_float.h"
#include "kernels/matmul/cuda_mma.h"

namespace genfast::cuda {

constexpr int64_t kEnoughBlocks = 264;  // two for each of an H200's 132 multiprocessors
constexpr int64_t kLeastColumns = 256;  // of a slice
constexpr int kMostStreamed = 16;       // rows at a time

// Blocks that share a panel: each warp of each of them has a slice of K.
inline int64_t blocks_of_a_panel(const Matrix& w) {
    const int64_t wanted = (kEnoughBlocks + panel_count(w) - 1) / panel_count(w);
    const int64_t most = w.K / (kWarps * kLeastColumns);
    return wanted < most ? wanted : most < 1 ? 1 : most;
}
inline int64_t slices_of(const Matrix& w) {
    return blocks_of_a_panel(w) * kWarps;
}
__host__ __device__ inline int64_t slice_begin(int64_t slice, int64_t slices, int64_t steps) {
    return steps * slice / slices;
}

__host__ __device__ inline int64_t streamed_tiles(int64_t M) {
    return (M + kMostStreamed - 1) / kMostStreamed;
}

// Scratch: the rows (cuda_rows.h), then for each panel and tile of rows the sums of the slices,
// then a counter.
struct Parts {
    uint32_t* sums;
    unsigned* counters;
};
inline size_t part_bytes(const Matrix& w, int64_t M, int64_t slices) {
    const int64_t sums = slices * kMostStreamed * kPanelRows;
    return size_t(panel_count(w) * streamed_tiles(M) * (sums + 1)) * sizeof(uint32_t);
}
__host__ __device__ inline Parts parts_in(const MatmulArgs& a, int64_t slices) {
    uint32_t* sums = reinterpret_cast<uint32_t*>(a.scratch + row_bytes(a.w, a.M));
    const int64_t tiles = panel_count(a.w) * streamed_tiles(a.M);
    return {sums, sums + tiles * slices * kMostStreamed * kPanelRows};
}

template <Format format, int M>
using WarpSums =
    std::conditional_t<is_float(format), FloatSums<format, M>, StreamedSums<format, M>>;

// Block (p, b): panel p, the b-th part of K; rows [t * M, t * M + M), the t-th of `tiles` tiles.
template <Format format, int M>
__device__ void multiply_tile(const MatmulArgs& a, int64_t t, int64_t tiles) {
    using Sum = typename WarpSums<format, M>::Sum;
    __shared__ uint32_t of_block[kWarps * M * kPanelRows];
    __shared__ bool last;
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
    __threadfence();  // the sums are there before the counter says so
    __syncthreads();
    if (!alone) {
        if (threadIdx.x == 0) last = atomicAdd(parts.counters + tile, 1u) + 1 == gridDim.y;
        __syncthreads();
        if (!last) return;
        __threadfence();
    }
    for (int m = warp(); m < M && first + m < a.M; m += kWarps) {
        Sum total = {};
        for (int64_t of = 0; of < slices; ++of)
            add_bits(total, sums[(of * M + m) * kPanelRows + lane()]);
        finish(a, rows, panel, first + m, total);
    }
}

template <Format format, int M>
__global__ void multiply_streamed(MatmulArgs a) {
    multiply_tile<format, M>(a, blockIdx.z, gridDim.z);
}
template <Format format, int M>
__global__ void multiply_each(const MatmulArgs* each) {
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

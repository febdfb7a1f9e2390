// Products on Hopper's tensor cores (cuda/wgmma.h): bf16, whatever the number of rows, and many
// rows of int8. Not int4: every 32 columns its sums would have to be read out and scaled, two
// instructions for each, 128 cycles where the product itself takes 64.
//
// K is cut into slices, a function of N and K alone, which are added in ascending order. Few rows:
// each block sums one slice, and whichever comes last adds them up. Many: a block has all slices.
// A row gets the same bits from either, if columns of a product depend on nothing in others, nor on
// how many there are.
//
// The floor. Few rows: the weights' bytes, 64 KB of which are on their way to each block. Many, for
// 16 columns by 128 rows of the matrix and 256 of x (whole: one slice): the tensor cores 256
// cycles; shared memory 24 KB, at 128 bytes a cycle 192; from L2 12 KB, 48 bytes a cycle and more
// than a multiprocessor's share of the 5,120 an A100's has, 316 cycles. With totals, 128 of x: 128,
// 128 and 211 cycles.
#pragma once

#include "kernels/matmul/cuda_stream.h"
#include "kernels/matmul/cuda_wgmma_stage.h"

namespace genfast::cuda {

constexpr int kMostByWgmma = 64;        // rows that are few
constexpr int64_t kGroupsWanted = 132;  // one for each of an H100's multiprocessors

inline int64_t panel_groups(const Matrix& w) {
    return (panel_count(w) + kGroupPanels - 1) / kGroupPanels;
}
inline int64_t wgmma_slices(const Matrix& w) {
    const int64_t wanted = (kGroupsWanted + panel_groups(w) - 1) / panel_groups(w);
    const int64_t most = w.K / kLeastColumns;
    return wanted < most ? wanted : most < 1 ? 1 : most;
}

// A block: kGroups warpgroups multiply, each by kRows of x, and a warp more fills their stages.
template <int kRows, int kGroups, int kStages>
struct WgmmaBlock {
    static constexpr int kTile = kRows * kGroups, kConsumers = 4 * kGroups,
                         kBlockThreads = (kConsumers + 1) * kWarp;
    union {
        WgmmaStage<kTile> stages[kStages];
        uint32_t sums[kConsumers][kRows][kPanelRows + 4];  // so lanes that write meet all banks
    };
    Ring<kStages> ring;
};
// 70 KB, of which three have room; some 200 KB.
template <int kRows>
using FewRows = WgmmaBlock<kRows, 1, 4>;
template <bool kTotals>
using ManyRows = std::conditional_t<kTotals, WgmmaBlock<64, 2, 6>, WgmmaBlock<128, 2, 4>>;

// Of four panels by rows [row, row + kTile) of x, over slices [first, last) of K: the sums of the
// panel that warp() % 4 names by the rows of the warpgroup. The last warp's are nothing.
template <Format format, bool kTotals, int kRows, int kGroups, int kStages>
__device__ WgmmaSums<format, kRows> multiply_slices(WgmmaBlock<kRows, kGroups, kStages>& shared,
                                                    const MatmulArgs& a, const Rows& x,
                                                    int64_t panel, int64_t row, int slices,
                                                    int first, int last) {
    using Block = WgmmaBlock<kRows, kGroups, kStages>;
    using Sums = WgmmaSums<format, kRows>;
    Ring<kStages>& ring = shared.ring;
    ring.begin(Block::kConsumers);
    const int blocks = int(x.steps / kBlockSteps);
    const int begin = int(slice_begin(first, slices, blocks)),
              end = int(slice_begin(last, slices, blocks));

    auto fill = [&] {
        const WgmmaProducer<format, Block::kTile> producer(a, x, panel, row);
        for (int i = 0; i < end - begin; ++i) {
            ring.wait_for_room(i);
            producer.fill(shared.stages[ring.stage(i)], ring.full[ring.stage(i)], begin + i);
        }
    };
    auto multiply = [&](int i, Sums& sums) {
        ring.wait_for_filling(i);
        const auto& stage = shared.stages[ring.stage(i)];
        TwoTiles tiles = stage.tiles(warp() % 4, 0);
#pragma unroll
        for (int step = 0; step < kBlockSteps; ++step) {
            hold_registers(tiles.a[0]);
            hold_registers(tiles.a[1]);
            fence_products();
            sums.begin_adding(tiles, stage.operand(warpgroup() * kRows / 8, step));
            end_products();
            // The next words meanwhile. Two groups of products at once have no registers for it.
            if (step + 1 < kBlockSteps) tiles = stage.tiles(warp() % 4, step + 1);
            wait_for_products<0>();
        }
        if (lane() == 0) ring.release(i);
    };
    Sums sums, totals;
    if (warp() == Block::kConsumers)
        fill();
    else
        for (int slice = first; slice < last; ++slice) {
            if constexpr (kTotals) sums = {};
            sums.hold();
            const int stop = int(slice_begin(slice + 1, slices, blocks)) - begin;
#pragma unroll 1
            for (int i = int(slice_begin(slice, slices, blocks)) - begin; i < stop; ++i)
                multiply(i, sums);
            sums.hold();
            if constexpr (kTotals) totals.add(sums);
        }
    __syncthreads();  // stages have been multiplied
    return kTotals ? totals : sums;
}

// The warp's sums to the result, through `exchanged`.
template <Format format, int kRows>
__device__ void finish_sums(const MatmulArgs& a, const Rows& x, int64_t panel, int64_t row,
                            const WgmmaSums<format, kRows>& sums,
                            uint32_t (&exchanged)[kRows][kPanelRows + 4]) {
    using Sum = typename WgmmaSums<format, kRows>::Sum;
#pragma unroll
    for (int i = 0; i < kRows / 4; ++i)
        *reinterpret_cast<uint4*>(&exchanged[sums.row_of(i)][4 * lane_row()]) = sums.four(i);
    __syncwarp();
#pragma unroll 1
    for (int m = 0; m < kRows && row + m < x.count; ++m) {
        Sum sum = {};
        add_bits(sum, exchanged[m][lane()]);
        finish(a, x, panel, row + m, sum);
    }
}

// The warp's sums of its slice, to scratch; who comes last adds up those of all slices.
template <Format format, int kRows>
__device__ void join_slices(const MatmulArgs& a, const Rows& x, int64_t panel, int slices,
                            int slice, const WgmmaSums<format, kRows>& sums) {
    using Sum = typename WgmmaSums<format, kRows>::Sum;
    const Parts parts = parts_in(a, slices);
    const int64_t rows = padded_rows(x.count);
    auto part = [&](int of, int64_t m) {
        return parts.sums + ((panel * slices + of) * rows + m) * kPanelRows;
    };
#pragma unroll
    for (int i = 0; i < kRows / 4; ++i)
        if (sums.row_of(i) < rows)
            *reinterpret_cast<uint4*>(part(slice, sums.row_of(i)) + 4 * lane_row()) = sums.four(i);
    __threadfence();  // the sums are there before the counter says so
    __syncwarp();
    unsigned before = 0;
    if (lane() == 0) before = atomicAdd(x.counters + panel, 1u);
    if (__shfl_sync(~0u, before, 0) + 1 != unsigned(slices)) return;
    if (lane() == 0) x.counters[panel] = 0;
    __threadfence();
    for (int64_t m = 0; m < x.count; ++m) {
        Sum total = {};
        for (int of = 0; of < slices; ++of) add_bits(total, part(of, m)[lane()]);
        finish(a, x, panel, m, total);
    }
}

// Up to kRows rows: block (p, s): panels [4 p, 4 p + 4), slice s.
template <Format format, int kRows>
__device__ void multiply_few_rows(const MatmulArgs& a) {
    auto& shared = *reinterpret_cast<FewRows<kRows>*>(dynamic_shared());
    const Rows x = rows_in(a);
    const int slices = int(gridDim.y), slice = int(blockIdx.y);
    const int64_t first = int64_t(blockIdx.x) * kGroupPanels, panel = first + warp();
    const auto sums =
        multiply_slices<format, false>(shared, a, x, first, 0, slices, slice, slice + 1);
    if (warp() == shared.kConsumers || panel >= panel_count(a.w)) return;
    if (slices > 1)
        join_slices(a, x, panel, slices, slice, sums);
    else
        finish_sums(a, x, panel, 0, sums, shared.sums[warp()]);
}
template <Format format, int kRows>
__global__ void __launch_bounds__(FewRows<kRows>::kBlockThreads) multiply_few(MatmulArgs a) {
#if defined(GENFAST_WGMMA)
    wait_for_earlier_launches();
    multiply_few_rows<format, kRows>(a);
#endif
}
template <Format format, int kRows>
__global__ void __launch_bounds__(FewRows<kRows>::kBlockThreads)
    multiply_each_few(const MatmulArgs* each) {
#if defined(GENFAST_WGMMA)
    wait_for_earlier_launches();
    const MatmulArgs a = each[blockIdx.z];
    if (a.M > 0) multiply_few_rows<format, kRows>(a);
#endif
}

// Many rows: block (r, p): the r-th tile of rows, panels [4 p, 4 p + 4).
template <Format format, bool kTotals>
__global__ void __launch_bounds__(ManyRows<kTotals>::kBlockThreads, 1)
    multiply_many(MatmulArgs a, int slices) {
#if defined(GENFAST_WGMMA)
    wait_for_earlier_launches();
    auto& shared = *reinterpret_cast<ManyRows<kTotals>*>(dynamic_shared());
    const Rows x = rows_in(a);
    const int64_t first = int64_t(blockIdx.y) * kGroupPanels, panel = first + warp() % 4,
                  row = int64_t(blockIdx.x) * shared.kTile;
    const auto sums = multiply_slices<format, kTotals>(shared, a, x, first, row, slices, 0, slices);
    if (warp() == shared.kConsumers || panel >= panel_count(a.w)) return;
    const int rows = shared.kTile / (shared.kConsumers / 4);
    finish_sums(a, x, panel, row + warpgroup() * rows, sums, shared.sums[warp()]);
#endif
}

template <Format format>
void launch_few_by_wgmma(const MatmulArgs& a) {
    const dim3 grid(unsigned(panel_groups(a.w)), unsigned(wgmma_slices(a.w)));
    auto launch_rows = [&]<int kRows>() {
        using Block = FewRows<kRows>;
        launch_with_shared(multiply_few<format, kRows>, sizeof(Block), grid, Block::kBlockThreads,
                           a);
    };
    if (a.M <= 8) return launch_rows.template operator()<8>();
    if (a.M <= 16) return launch_rows.template operator()<16>();
    launch_rows.template operator()<kMostByWgmma>();
}

template <Format format>
void launch_many_by_wgmma(const MatmulArgs& a) {
    const int64_t slices = wgmma_slices(a.w);
    auto launch_tiles = [&]<bool kTotals>() {
        using Block = ManyRows<kTotals>;
        const dim3 grid(unsigned((a.M + Block::kTile - 1) / Block::kTile),
                        unsigned(panel_groups(a.w)));
        launch_with_shared(multiply_many<format, kTotals>, sizeof(Block), grid,
                           Block::kBlockThreads, a, int(kTotals ? slices : 1));
    };
    if constexpr (format == Format::bf16)
        if (slices > 1) return launch_tiles.template operator()<true>();
    launch_tiles.template operator()<false>();
}

template <Format format>
void launch_each_by_wgmma(const Matrix& w, const MatmulArgs* each, int64_t count, int64_t M) {
    const dim3 grid(unsigned(panel_groups(w)), unsigned(wgmma_slices(w)), unsigned(count));
    auto launch_rows = [&]<int kRows>() {
        using Block = FewRows<kRows>;
        launch_with_shared(multiply_each_few<format, kRows>, sizeof(Block), grid,
                           Block::kBlockThreads, each);
    };
    if (M <= 8) return launch_rows.template operator()<8>();
    launch_rows.template operator()<16>();
}

}  // namespace genfast::cuda

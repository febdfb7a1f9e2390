// A tile of queries by the pages of a cache in bf16 on Hopper's tensor cores (compute capability
// 9.0), after FlashAttention-3 (arXiv 2407.08608).
//
// As cuda_tiles.h in all that is computed: both products take the cache as operand `a`, chunks of
// 128 tokens lie at absolute positions, each of four warps scores a page of one. But a warpgroup
// has up to 64 queries, whose products run beside it; the last warpgroup of the block does nothing
// but copy the next chunks' keys and values, which the block's other warpgroups share; and while
// one of these is at its exponentials, the other's products run. No barrier holds them together,
// only that what one still reads is not overwritten.
//
// Columns' largest scores and sums are in the block's memory, a column's by one thread. What is
// merged so far of blocks of context waits in the result's place, as registers hold one block's.
//
// The floor, of 128 queries and 128 tokens of D = 128: 2,048 cycles of an H100's multiprocessor for
// the products; 64 KB from L2, at its share of some 40 bytes a cycle 1,600; and from the block's
// memory 64 KB of `a` for each warpgroup and as much of `b`, at 128 bytes a cycle 2,048.
#pragma once

#include "kernels/attention/cuda_attender.h"

namespace genfast::cuda {

template <int count, int eights, int sixteens>
struct HopperMemory {
    static constexpr int kStages = 4;  // keys and values in turn
    StagedPages<sixteens> stages[kStages];
    GroupMemory<eights, sixteens> groups[count];
    Ring<kStages> ring;
};

// Fills the ring with the chunks that some query of the tile sees; by a warpgroup. What is told to
// be there is the filling before the last, which has had time to arrive.
template <class Memory>
__device__ void fill_ring(const AttentionArgs& a, const QueryTile& tile, const TileBlocks& blocks,
                          int64_t begin, int64_t end, Memory& memory) {
    const int thread = int(threadIdx.x) % kWarpgroup;
    int filling = 0;
    auto tell = [&](int i) {
        __syncwarp();
        if (lane() == 0) memory.ring.full[memory.ring.stage(i)].arrive();
    };
    for (int64_t b = begin; b < end; ++b) {
        const Tokens by_some = blocks.by_some(b);
        for (int64_t chunk = first_chunk(by_some); chunk < by_some.end; chunk += kChunkTokens)
            for (int values = 0; values < 2; ++values, ++filling) {
                memory.ring.wait_for_room(filling);
                auto& stage = memory.stages[memory.ring.stage(filling)];
                if (values)
                    stage.copy_values(a, tile, chunk, by_some, thread);
                else
                    stage.copy_keys(a, tile, chunk, by_some, thread);
                end_copy_group();
                wait_for_copies<1>();
                if (filling > 0) tell(filling - 1);
            }
    }
    wait_for_copies<0>();
    if (filling > 0) tell(filling - 1);
}

// Attends to what comes through the ring; by a warpgroup, `mine` being its part of the tile.
template <int eights, int sixteens, class Memory>
__device__ void empty_ring(const AttentionArgs& a, const QueryTile& mine, const TileBlocks& blocks,
                           int64_t begin, int64_t end, bool split, Memory& memory) {
    Attender<eights, sixteens> attender{a, mine, memory.groups[warpgroup()], {}, {}};
    attender.load_queries();
    if (!split) attender.begin_merging();
    const Visible first(a, mine.position), last(a, mine.position + mine.rows - 1);
    int filling = 0;
    auto with_stage = [&](bool sees, auto fn) {
        memory.ring.wait_for_filling(filling);
        if (sees) fn(memory.stages[memory.ring.stage(filling)]);
        __syncwarp();
        if (lane() == 0) memory.ring.release(filling);
        ++filling;
    };
    for (int64_t b = begin; b < end; ++b) {
        const Tokens by_tile = blocks.by_some(b), by_some = blocks.between(b, first, last),
                     by_all = blocks.between(b, last, first);
        attender.begin_block(
            [&](int q) { return blocks.seen(b, Visible(a, mine.position_of(q))); },
            [&](int q) {
                const int64_t own = blocks.index_for(b, Visible(a, mine.position_of(q)));
                return split ? record_of(a, mine.row_of(q), mine.head_of(q), own, gridDim.x) + 2
                             : attender.out(q);
            });
        for (int64_t chunk = first_chunk(by_tile); chunk < by_tile.end; chunk += kChunkTokens) {
            const int64_t stop = chunk + kChunkTokens;
            const bool sees = mine.rows > 0 && chunk < by_some.end && stop > by_some.begin;
            const bool whole = chunk >= by_all.begin && stop <= by_all.end;
            with_stage(sees, [&](const auto& keys) { attender.score_chunk(keys); });
            if (sees) attender.weigh_chunk(chunk, whole);
            with_stage(sees, [&](const auto& values) {
                attender.add_values(values, chunk, by_some, whole);
            });
        }
        split ? attender.keep_block() : attender.merge_block();
    }
    if (!split) attender.finish();
}

// Block (b, kv, t): as attend_tiles(); the tile's rows in `groups` parts.
template <int groups, int eights, int sixteens>
__global__ void __launch_bounds__((groups + 1) * kWarpgroup, 1)
    attend_hopper([[maybe_unused]] AttentionArgs a, [[maybe_unused]] TileShape shape,
                  [[maybe_unused]] bool split) {
#if defined(GENFAST_WGMMA)
    wait_for_earlier_launches();
    auto& memory = *reinterpret_cast<HopperMemory<groups, eights, sixteens>*>(dynamic_shared());
    const QueryTile tile = find_tile(a, shape, blockIdx.z, int(blockIdx.y));
    if (!tile.span) return;
    const TileBlocks blocks(a, tile);
    const int64_t begin = split ? blockIdx.x : 0, end = split ? begin + 1 : blocks.count();
    if (begin >= blocks.count()) return;
    memory.ring.begin(groups * kWarps, kWarps);
    if (warpgroup() == groups) {
        if (groups > 1) give_registers<24>();
        fill_ring(a, tile, blocks, begin, end, memory);
    } else {
        if (groups > 1) take_registers<240>();
        const QueryTile mine = tile.part(warpgroup(), shape.rows / groups);
        empty_ring<eights, sixteens>(a, mine, blocks, begin, end, split, memory);
    }
#endif
}

}  // namespace genfast::cuda

// softmax(q k) v over the paged cache.
//
// Context is taken in blocks of 512 tokens at absolute positions, whose results (largest score,
// sum, weighted values) are merged in ascending order. Of few rows each block of context has a
// block of threads, which leaves a record; of many rows it goes through its context by itself and
// merges as it goes: the same steps, so the same bits.
//
// bf16, int8 and int4 by tensor cores: a tile of queries reads a page once (cuda_tiles.h; on
// Hopper, bf16 with heads of up to 128 numbers, cuda_hopper.h). f32 and fp8 row by row, whose query
// heads of a group share what is read (cuda_rows.h).
//
// The cache lies as on the CPU (kv_layout.h), which suits a GPU as it is: a page's 32 tokens, and
// 32 neighbours of a value's numbers, are a warp's lanes.
#include "cuda/last_block.h"
#include "kernels/attention/cuda_append.h"
#include "kernels/attention/cuda_hopper.h"
#include "kernels/attention/cuda_rows.h"
#include "kernels/attention/cuda_tiles.h"
#include "kernels/matmul/cuda_prepare.h"
#include "kernels/table.h"

namespace genfast::cuda {
namespace {

// ---- softmax(q k) v
// -----------------------------------------------------------------------------
// Block (b, head, row): the row's block b, which leaves its record; or (split == false) all of
// them.
template <KvType type, int G>
__global__ void attend_rows(AttentionArgs a, bool split) {
    wait_for_earlier_launches();
    const int64_t t = blockIdx.z;
    const RowPosition row = find_row(a, t);
    if (!row.span) return;
    const Visible visible(a, row.position);
    const int64_t begin = split ? blockIdx.x : 0, end = split ? begin + 1 : visible.blocks();
    if (begin >= visible.blocks()) return;
    const int kv_head = int(blockIdx.y), group = a.heads / a.layout.heads;
    for (int first = 0; first < group; first += G) {
        const Heads heads{kv_head, kv_head * group + first, group - first < G ? group - first : G};
        Merged merged[G];
        for (int64_t b = begin; b < end; ++b)
            attend_block<type, G>(a, row, t, heads, visible.tokens(b), merged);
        for (int g = 0; g < heads.count; ++g)
            if (split)
                merged[g].keep(record_of(a, t, heads.query + g, begin, gridDim.x),
                               a.layout.head_dim);
            else
                merged[g].write(a, t, heads.query + g);
    }
}

// Block (head, row). Where rows are left for a product, `place` is for them, and floats lie in
// between: a row is prepared by the block that comes last of its heads'.
__global__ void merge_records(AttentionArgs a, int64_t blocks, float* place) {
    wait_for_earlier_launches();
    const int64_t head = blockIdx.x, t = blockIdx.y;
    if (const RowPosition row = find_row(a, t); row.span) {
        const Visible visible(a, row.position);
        Merged merged;
        for (int64_t b = 0; b < visible.blocks(); ++b)
            merged.take(record_of(a, t, head, b, blocks), a.layout.head_dim);
        merged.write(a, t, head);
    }
    if (!a.rows_for || !comes_last(merge_counter(a, t), gridDim.x)) return;
    const int64_t K = a.heads * a.layout.head_dim;
    leave_row(a.rows_for, place, a.T, K, t, [&](int64_t k) { return a.out[t * K + k]; });
}

// Blocks of context that are shared out; 1: none are.
int64_t shared_blocks(const AttentionArgs& a) {
    return splits(a) ? most_blocks(a.context) : 1;
}
void merge(const AttentionArgs& a) {
    if (!splits(a)) return;
    AttentionArgs floats = a;
    if (a.rows_for) floats.out = merged_rows(a);
    launch(merge_records, dim3(unsigned(a.heads), unsigned(a.T)), kThreads, floats,
           shared_blocks(a), a.out);
}

template <KvType type, int G>
void attend_by_rows(const AttentionArgs& a) {
    const dim3 grid(unsigned(shared_blocks(a)), unsigned(a.layout.heads), unsigned(a.T));
    launch(attend_rows<type, G>, grid, kThreads, a, splits(a));
}
template <KvType type>
void attend_by_rows(const AttentionArgs& a) {
    const int group = a.heads / a.layout.heads;
    if (group == 1) return attend_by_rows<type, 1>(a);
    if (group <= 4) return attend_by_rows<type, 4>(a);
    attend_by_rows<type, 8>(a);
}

template <class Pages>
void attend_by_tiles(const AttentionArgs& a) {
    const TileShape shape(a, Pages::kRoom);
    const dim3 grid(unsigned(shared_blocks(a)), unsigned(a.layout.heads * shape.parts),
                    unsigned(shape.most_tiles(a)));
    launch(attend_tiles<Pages>, grid, kThreads, a, shape, splits(a));
}

// `eights` for heads of up to 128 numbers; fewer for more, whose sums fill the registers.
template <template <int, int> class Pages, int eights>
void attend_by_tiles(const AttentionArgs& a) {
    if (a.layout.head_dim <= 64) return attend_by_tiles<Pages<eights, 1>>(a);
    if (a.layout.head_dim <= 128) return attend_by_tiles<Pages<eights, 2>>(a);
    attend_by_tiles<Pages<(eights + 1) / 2, 4>>(a);
}
// A row of each sequence has few queries for a tile, and gets the same bits.
template <template <int, int> class Pages, int eights>
void attend_by_few_or_many(const AttentionArgs& a) {
    if (a.T == a.span_count) return attend_by_tiles<Pages, 1>(a);
    attend_by_tiles<Pages, eights>(a);
}

template <int groups, int eights, int sixteens>
void attend_on_hopper(const AttentionArgs& a) {
    const TileShape shape(a, eights * kMmaColumns, groups);
    const dim3 grid(unsigned(shared_blocks(a)), unsigned(a.layout.heads * shape.parts),
                    unsigned(shape.most_tiles(a)));
    launch_with_shared(attend_hopper<groups, eights, sixteens>,
                       sizeof(HopperMemory<groups, eights, sixteens>), grid,
                       (groups + 1) * kWarpgroup, a, shape, splits(a));
}
template <int groups, int eights>
void attend_on_hopper(const AttentionArgs& a) {
    if (a.layout.head_dim <= 64) return attend_on_hopper<groups, eights, 1>(a);
    attend_on_hopper<groups, eights, 2>(a);
}
void attend_bf16(const AttentionArgs& a) {
    if (!has_wgmma() || a.layout.head_dim > 128) return attend_by_few_or_many<Bf16Pages, 4>(a);
    if (a.T == a.span_count) return attend_on_hopper<1, 1>(a);
    attend_on_hopper<2, 8>(a);
}

template <int eights, int sixteens>
using Int8Pages = FixedPages<KvType::int8, eights, sixteens>;
template <int eights, int sixteens>
using Int4Pages = FixedPages<KvType::int4, eights, sixteens>;

void attend(const AttentionArgs& a) {
    switch (a.layout.type) {
        case KvType::f32:
            return attend_by_rows<KvType::f32>(a);
        case KvType::fp8:
            return attend_by_rows<KvType::fp8>(a);
        case KvType::bf16:
            return attend_bf16(a);
        case KvType::int8:
            return attend_by_few_or_many<Int8Pages, 2>(a);
        case KvType::int4:
            return attend_by_few_or_many<Int4Pages, 2>(a);
    }
}

}  // namespace

void attention(const AttentionArgs& a, Team& team) {
    if (team.index != 0) return;
    append(a);
    attend(a);
    merge(a);
}

size_t attention_scratch_bytes(const KvLayout& layout, int heads, int64_t T, int,
                               int64_t max_context, int64_t) {
    return split_bytes(layout, heads, T, max_context);
}

const char* attention_variant(KvType type) {
    const char* names[] = {"cuda_f32", "cuda_bf16", "cuda_int8", "cuda_int4", "cuda_fp8"};
    return names[int(type)];
}

}  // namespace genfast::cuda

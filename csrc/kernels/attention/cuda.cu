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
#include "kernels/attention/cuda_hopper.h"
#include "kernels/attention/cuda_rows.h"
#include "kernels/attention/cuda_tiles.h"
#include "kernels/table.h"

namespace genfast::cuda {
namespace {

// Whether a row's blocks of context are shared out.
bool splits(const AttentionArgs& a) {
    return a.T <= kMostSplitRows && a.context > 0;
}

// ---- the step's keys and values
// -----------------------------------------------------------------
__global__ void append_float(AttentionArgs a) {
    const RowPosition row = find_row(a, blockIdx.x);
    if (!row.span) return;  // a row that pads the step
    const int head = int(blockIdx.y);
    const float *k = new_key(a, head), *v = k + a.layout.heads * a.layout.head_dim;
    const int32_t page = row.span->pages[row.position / kPageTokens];
    const int64_t s = row.position % kPageTokens, D = a.layout.head_dim;
    for (int64_t d = threadIdx.x; d < round_up(D, 4); d += kThreads) {
        store_kv(a.cache + a.layout.keys(page, head) + a.layout.key_element(s, d), a.layout.type,
                 d < D ? k[d] : 0);
        if (d < D)
            store_kv(a.cache + a.layout.values(page, head, d / a.layout.panel()) +
                         a.layout.value_element(s, d),
                     a.layout.type, v[d]);
    }
}

// int8, fp8: bytes, and a scale a token.
__global__ void append_bytes(AttentionArgs a) {
    const RowPosition row = find_row(a, blockIdx.x);
    if (!row.span) return;
    const int head = int(blockIdx.y);
    const float *k = new_key(a, head), *v = k + a.layout.heads * a.layout.head_dim;
    const int32_t page = row.span->pages[row.position / kPageTokens];
    const int64_t s = row.position % kPageTokens, D = a.layout.head_dim;
    const TokenScale key = token_scale(a.layout.type, k, D),
                     value = token_scale(a.layout.type, v, D);
    if (threadIdx.x == 0) {
        // Through the key's scale a value that is not finite reaches the weights too.
        float* scales = reinterpret_cast<float*>(a.cache + a.layout.key_scales(page, head));
        scales[s] = key.scale + 0 * value.scale;
        scales = reinterpret_cast<float*>(a.cache + a.layout.value_scales(page, head));
        scales[s] = value.scale;
    }
    for (int64_t d = threadIdx.x; d < round_up(D, 4); d += kThreads) {
        a.cache[a.layout.keys(page, head) + a.layout.key_element(s, d)] =
            d < D ? key.round(k[d]) : key.zero();
        if (d < D)
            a.cache[a.layout.values(page, head, d / a.layout.panel()) +
                    a.layout.value_element(s, d)] = value.round(v[d]);
    }
}

// Block (t, head), where row t is the first of the step in its page: the page's rows, which share
// bytes.
__global__ void append_int4(AttentionArgs a) {
    const RowPosition row = find_row(a, blockIdx.x);
    if (!row.span) return;
    const int64_t s = row.position % kPageTokens,
                  left = row.span->start + row.span->rows - row.position;
    if (s > 0 && row.position > row.span->start) return;
    const int head = int(blockIdx.y);
    const float* k = new_key(a, head);
    store_page(a, {k, k + a.layout.heads * a.layout.head_dim,
                   (a.heads + 2 * a.layout.heads) * a.layout.head_dim, s,
                   s + left < kPageTokens ? s + left : kPageTokens,
                   row.span->pages[row.position / kPageTokens], head});
}

// ---- softmax(q k) v
// -----------------------------------------------------------------------------
// Block (b, head, row): the row's block b, which leaves its record; or (split == false) all of
// them.
template <KvType type, int G>
__global__ void attend_rows(AttentionArgs a, bool split) {
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

__global__ void merge_records(AttentionArgs a, int64_t blocks) {
    const int64_t head = blockIdx.x, t = blockIdx.y;
    const RowPosition row = find_row(a, t);
    if (!row.span) return;
    const Visible visible(a, row.position);
    Merged merged;
    for (int64_t b = 0; b < visible.blocks(); ++b)
        merged.take(record_of(a, t, head, b, blocks), a.layout.head_dim);
    merged.write(a, t, head);
}

// Blocks of context that are shared out; 1: none are.
int64_t shared_blocks(const AttentionArgs& a) {
    return splits(a) ? most_blocks(a.context) : 1;
}
void merge(const AttentionArgs& a) {
    const dim3 grid(unsigned(a.heads), unsigned(a.T));
    if (splits(a)) launch(merge_records, grid, kThreads, a, shared_blocks(a));
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

void append(const AttentionArgs& a) {
    const auto kernel = a.layout.type == KvType::int4     ? append_int4
                        : has_token_scales(a.layout.type) ? append_bytes
                                                          : append_float;
    launch(kernel, dim3(unsigned(a.T), unsigned(a.layout.heads)), kThreads, a);
}

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
    const int64_t rows = T < kMostSplitRows ? T : kMostSplitRows;
    return size_t(rows * heads * most_blocks(max_context) * record_floats(layout)) * sizeof(float);
}

const char* attention_variant(KvType type) {
    const char* names[] = {"cuda_f32", "cuda_bf16", "cuda_int8", "cuda_int4", "cuda_fp8"};
    return names[int(type)];
}

}  // namespace genfast::cuda

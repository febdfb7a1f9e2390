// As attention (attention/cuda.cu): a block for each row, eight heads and 512 tokens of context,
// whose records are merged in ascending order; or, where rows are many, all blocks by one.
#include "kernels/attention/cuda_block.h"
#include "kernels/table.h"

namespace genfast::cuda {
namespace {

constexpr int kHeads = 8;  // that share what is read of the cache
constexpr int kLatentOwned = kMaxLatentDim / kThreads;

using LatentMerged = MergedBlocks<kLatentOwned>;

__device__ size_t latent_row(const LatentArgs& a, int32_t page, int64_t s) {
    return a.layout.keys(page, 0) + s * int64_t(a.layout.bytes_of(a.layout.stored_dim()));
}

// ---- the step's rows
// -----------------------------------------------------------------
// n numbers of the cache's row, from number `first` on.
__device__ void store_part(const LatentArgs& a, const float* x, int64_t n, size_t row,
                           int64_t first, size_t scale) {
    std::byte* to = a.cache + row + a.layout.bytes_of(first);
    if (!has_token_scales(a.layout.type)) {
        for (int64_t i = threadIdx.x; i < n; i += kThreads)
            store_kv(to + a.layout.bytes_of(i), a.layout.type, x[i]);
        return;
    }
    const TokenScale unit = token_scale(a.layout.type, x, n);
    for (int64_t i = threadIdx.x; i < n; i += kThreads) to[i] = unit.round(x[i]);
    if (threadIdx.x == 0) *reinterpret_cast<float*>(a.cache + scale) = unit.scale;
}

__global__ void append_latent(LatentArgs a) {
    wait_for_earlier_launches();
    const RowPosition row = find_row(a, blockIdx.x);
    if (!row.span) return;  // a row that pads the step
    const int64_t R = a.layout.latent, P = a.layout.head_dim - R;
    const float* x = a.rows + int64_t(blockIdx.x) * (P + R);
    const int32_t page = row.span->pages[row.position / kPageTokens];
    const int64_t s = row.position % kPageTokens;
    const size_t to = latent_row(a, page, s);
    store_part(a, x + P, R, to, 0, a.layout.value_scales(page, 0) + s * sizeof(float));
    store_part(a, x, P, to, R, a.layout.key_scales(page, 0) + s * sizeof(float));
}

// ---- softmax(q c + p k) c
// -----------------------------------------------------------------
// One token of the cache.
template <KvType type>
struct LatentToken {
    const std::byte* row;
    float c_scale = 1, k_scale = 1;

    __device__ LatentToken(const LatentArgs& a, const SequenceSpan& span, int64_t token) {
        const int32_t page = span.pages[token / kPageTokens];
        const int64_t s = token % kPageTokens;
        row = a.cache + latent_row(a, page, s);
        if (!has_token_scales(type)) return;
        c_scale = reinterpret_cast<const float*>(a.cache + a.layout.value_scales(page, 0))[s];
        k_scale = reinterpret_cast<const float*>(a.cache + a.layout.key_scales(page, 0))[s];
    }
    // Number d as it lies.
    __device__ float at(int64_t d) const {
        if (type == KvType::f32) return reinterpret_cast<const float*>(row)[d];
        if (type == KvType::bf16) return bf16_to_f32(reinterpret_cast<const uint16_t*>(row)[d]);
        const uint8_t byte = reinterpret_cast<const uint8_t*>(row)[d];
        return type == KvType::fp8 ? e4m3::to_f32(byte) : float(int(byte) - 128);
    }
};

struct Latents {
    float query[kHeads][kMaxLatentDim], weight[kHeads][kRunTokens];
    float largest[kHeads], sum[kHeads];  // of a block's scores, of its weights
};

__device__ void load_queries(const LatentArgs& a, int64_t t, int first, int count, Latents& to) {
    const int64_t R = a.layout.latent, D = a.layout.head_dim, P = D - R;
    for (int g = 0; g < kHeads; ++g)
        for (int64_t d = threadIdx.x; d < D; d += kThreads) {
            const int64_t head = first + g;
            const float* q = d < R ? a.q + (t * a.heads + head) * R + d
                                   : a.turned + t * a.columns + head * P + d - R;
            to.query[g][d] = g < count ? *q : 0;
        }
    __syncthreads();
}

// Scores become weights: a warp for each head.
__device__ inline void weigh_latents(Tokens tokens, int64_t block, int count, Latents& mine) {
    for (int g = warp(); g < count; g += kWarps) {
        float* weight = mine.weight[g];
        float largest = -INFINITY, sum = 0;
        for (int64_t s = lane(); s < kRunTokens; s += kWarp)
            if (tokens.has(block + s)) largest = fmaxf(largest, weight[s]);
        largest = warp_max(largest);
        for (int64_t s = lane(); s < kRunTokens; s += kWarp)
            if (tokens.has(block + s)) sum += weight[s] = expf(weight[s] - largest);
        sum = warp_sum(sum);
        if (lane() > 0) continue;
        mine.largest[g] = largest;
        mine.sum[g] = sum;
    }
}

// Adds the tokens, all of one block, to what is merged so far of `count` heads. A thread has whole
// tokens' scores, then of all tokens some numbers.
template <KvType type>
__device__ void attend_latent(const LatentArgs& a, const SequenceSpan& span, Tokens tokens,
                              int count, Latents& mine, LatentMerged (&merged)[kHeads]) {
    const int64_t R = a.layout.latent, D = a.layout.head_dim;
    const int64_t block = tokens.begin / kRunTokens * kRunTokens;
    float value[kHeads][kLatentOwned] = {};
    for (int64_t s = threadIdx.x; s < kRunTokens; s += kThreads) {
        if (!tokens.has(block + s)) continue;
        const LatentToken<type> token(a, span, block + s);
        float score[kHeads] = {};
        for (int64_t d = 0; d < D; ++d) {
            const float x = token.at(d) * (d < R ? token.c_scale : token.k_scale);
#pragma unroll
            for (int g = 0; g < kHeads; ++g) score[g] = fmaf(mine.query[g][d], x, score[g]);
        }
#pragma unroll
        for (int g = 0; g < kHeads; ++g) mine.weight[g][s] = score[g] * a.scale;
    }
    __syncthreads();
    weigh_latents(tokens, block, count, mine);
    __syncthreads();
    for (int64_t s = tokens.begin; s < tokens.end; ++s) {
        const LatentToken<type> token(a, span, s);
#pragma unroll
        for (int j = 0; j < kLatentOwned; ++j) {
            if (owned(j) >= R) continue;
            const float c = token.at(owned(j)) * token.c_scale;
#pragma unroll
            for (int g = 0; g < kHeads; ++g)
                value[g][j] = fmaf(mine.weight[g][s - block], c, value[g][j]);
        }
    }
#pragma unroll
    for (int g = 0; g < kHeads; ++g)
        if (g < count) merged[g].add(mine.largest[g], mine.sum[g], value[g]);
    __syncthreads();  // weights may be written again
}

__host__ __device__ inline int64_t record_floats(const LatentArgs& a) {
    return a.layout.latent + 2;
}
__device__ inline float* record_of(const LatentArgs& a, int64_t t, int64_t head, int64_t block,
                                   int64_t blocks) {
    return reinterpret_cast<float*>(a.scratch) +
           ((t * a.heads + head) * blocks + block) * record_floats(a);
}

__device__ void write_latent(const LatentArgs& a, const LatentMerged& merged, int64_t t,
                             int64_t head) {
    float* out = a.out + (t * a.heads + head) * a.layout.latent;
    for (int j = 0; j < kLatentOwned; ++j)
        if (owned(j) < a.layout.latent) out[owned(j)] = merged.value[j] / merged.sum;
}

// Block (b, heads, row): the row's block b, which leaves records; or (split == false) all of them.
template <KvType type>
__global__ void attend_latents(LatentArgs a, bool split) {
    wait_for_earlier_launches();
    __shared__ Latents mine;
    const int64_t t = blockIdx.z;
    const RowPosition row = find_row(a, t);
    if (!row.span) return;
    const Visible visible(a, row.position);
    const int64_t begin = split ? blockIdx.x : 0, end = split ? begin + 1 : visible.blocks();
    if (begin >= visible.blocks()) return;
    const int first = int(blockIdx.y) * kHeads;
    const int count = a.heads - first < kHeads ? a.heads - first : kHeads;
    load_queries(a, t, first, count, mine);
    LatentMerged merged[kHeads];
    for (int64_t b = begin; b < end; ++b)
        attend_latent<type>(a, *row.span, visible.tokens(b), count, mine, merged);
    for (int g = 0; g < count; ++g)
        if (split)
            merged[g].keep(record_of(a, t, first + g, begin, gridDim.x), a.layout.latent);
        else
            write_latent(a, merged[g], t, first + g);
}

__global__ void merge_latents(LatentArgs a, int64_t blocks) {
    wait_for_earlier_launches();
    const int64_t head = blockIdx.x, t = blockIdx.y;
    const RowPosition row = find_row(a, t);
    if (!row.span) return;
    const Visible visible(a, row.position);
    LatentMerged merged;
    for (int64_t b = 0; b < visible.blocks(); ++b)
        merged.take(record_of(a, t, head, b, blocks), a.layout.latent);
    write_latent(a, merged, t, head);
}

template <KvType type>
void attend(const LatentArgs& a) {
    const bool split = a.T <= kMostSplitRows && a.context > 0;
    const int64_t blocks = split ? most_blocks(a.context) : 1;
    const dim3 grid(unsigned(blocks), unsigned((a.heads + kHeads - 1) / kHeads), unsigned(a.T));
    launch(append_latent, dim3(unsigned(a.T)), kThreads, a);
    launch(attend_latents<type>, grid, kThreads, a, split);
    if (split) launch(merge_latents, dim3(unsigned(a.heads), unsigned(a.T)), kThreads, a, blocks);
}

}  // namespace

void latent_attention(const LatentArgs& a, Team& team) {
    if (team.index != 0) return;
    if (a.layout.type == KvType::f32) return attend<KvType::f32>(a);
    if (a.layout.type == KvType::bf16) return attend<KvType::bf16>(a);
    if (a.layout.type == KvType::fp8) return attend<KvType::fp8>(a);
    attend<KvType::int8>(a);  // int4 has no such layout (program/ops_latent.cc)
}

size_t latent_attention_scratch_bytes(const LatentArgs& sizes, int, int64_t max_context) {
    const int64_t rows = sizes.T < kMostSplitRows ? sizes.T : kMostSplitRows;
    return size_t(rows * sizes.heads * most_blocks(max_context) * record_floats(sizes)) *
           sizeof(float);
}

}  // namespace genfast::cuda

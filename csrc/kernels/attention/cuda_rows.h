// One block of context for one row's query heads that share a KV head, of a cache in f32 or fp8,
// without tensor cores: scores, weights, and weighted values.
#pragma once

#include "kernels/attention/cuda_block.h"

namespace genfast::cuda {

struct Heads {
    int kv, query, count;  // query heads [query, query + count)
};

// A dword of the cache as the neighbours it holds.
template <KvType type>
struct Word {
    static_assert(type == KvType::f32 || type == KvType::fp8);
    static constexpr int kNumbers = type == KvType::fp8 ? 4 : 1;

    __device__ static void unpack(const std::byte* at, float* to) {
        const uint32_t word = *reinterpret_cast<const uint32_t*>(at);
        if constexpr (type == KvType::fp8) {
            const uint2 pairs = e4m3_pairs(word);
            to[0] = bits_to_f32(pairs.x << 16);
            to[1] = bits_to_f32(pairs.x & 0xffff0000u);
            to[2] = bits_to_f32(pairs.y << 16);
            to[3] = bits_to_f32(pairs.y & 0xffff0000u);
        } else {
            to[0] = bits_to_f32(word);
        }
    }
};

// The scale of token s (0 .. 31): 1 where the type has none.
template <KvType type>
__device__ inline float scale_at(const AttentionArgs& a, size_t scales, int64_t s) {
    return has_token_scales(type) ? reinterpret_cast<const float*>(a.cache + scales)[s] : 1.0f;
}

// The lane's token of a page by each query: a chain of fma over d.
template <KvType type, int G>
__device__ inline void score_token(const AttentionArgs& a, int32_t page, int kv_head,
                                   const float (*query)[kMaxHeadDim], float (&score)[G]) {
    constexpr int n = Word<type>::kNumbers;
    const std::byte* keys = a.cache + a.layout.keys(page, kv_head);
    for (int64_t d = 0; d < a.layout.head_dim; d += n) {
        float k[n];
        Word<type>::unpack(keys + a.layout.key_element(lane(), d), k);
#pragma unroll
        for (int g = 0; g < G; ++g)
#pragma unroll
            for (int i = 0; i < n; ++i) score[g] = fmaf(query[g][d + i], k[i], score[g]);
    }
    const float scale = scale_at<type>(a, a.layout.key_scales(page, kv_head), lane()) * a.scale;
#pragma unroll
    for (int g = 0; g < G; ++g) score[g] *= scale;
}

// What a warp's page adds to the lane's numbers of the values, 32 apart.
template <KvType type, int G>
__device__ inline void weigh_page(const AttentionArgs& a, int32_t page, int kv_head, Tokens tokens,
                                  int64_t first, const float (*weight)[kRunTokens],
                                  float (&value)[G][kMaxHeadDim / kWarp]) {
    constexpr int n = Word<type>::kNumbers;
    const size_t scales = a.layout.value_scales(page, kv_head);
    for (int64_t s = 0; s < kPageTokens; s += n) {
        if (first + s + n <= tokens.begin || first + s >= tokens.end) continue;
#pragma unroll
        for (int j = 0; j < kMaxHeadDim / kWarp; ++j) {
            if (j * kWarp >= a.layout.head_dim) break;
            // Lanes beyond the head take its last number, for nobody: nvcc follows every path of 8
            // branches, for minutes.
            const int64_t own = j * kWarp + lane(), last = a.layout.head_dim - 1;
            const int64_t d = own < last ? own : last;
            float v[n];
            Word<type>::unpack(a.cache + a.layout.values(page, kv_head, d / a.layout.panel()) +
                                   a.layout.value_element(s, d),
                               v);
#pragma unroll
            for (int i = 0; i < n; ++i) {
                if (!tokens.has(first + s + i)) continue;  // whatever it holds
                const float x = v[i] * scale_at<type>(a, scales, s + i);
#pragma unroll
                for (int g = 0; g < G; ++g)
                    value[g][j] = fmaf(weight[g][(first + s + i) % kRunTokens], x, value[g][j]);
            }
        }
    }
}

// Adds the block to what is merged so far. Warps take its pages in turn.
template <KvType type, int G>
__device__ void attend_block(const AttentionArgs& a, const RowPosition& row, int64_t t,
                             const Heads& heads, Tokens tokens, Merged (&merged)[G]) {
    __shared__ float query[G][kMaxHeadDim], weight[G][kRunTokens], sums[kWarps][kMaxHeadDim];
    const int64_t D = a.layout.head_dim;
    for (int g = 0; g < G; ++g)
        for (int64_t d = threadIdx.x; d < kMaxHeadDim; d += kThreads) {
            query[g][d] = g < heads.count && d < D ? row_of(a, t)[(heads.query + g) * D + d] : 0;
        }
    __syncthreads();

    const int64_t first_page = tokens.begin / kPageTokens + warp();
    float largest[G];
    for (float& x : largest) x = -INFINITY;
    for (int64_t p = first_page; p * kPageTokens < tokens.end; p += kWarps) {
        const int64_t token = p * kPageTokens + lane();
        if (!tokens.has(token)) continue;
        float score[G] = {};
        score_token<type, G>(a, row.span->pages[p], heads.kv, query, score);
#pragma unroll
        for (int g = 0; g < G; ++g) {
            if (a.cap > 0) score[g] = a.cap * tanhf(score[g] / a.cap);
            if (a.slopes && g < heads.count)
                score[g] -= a.slopes[heads.query + g] * float(row.position - token);
            weight[g][token % kRunTokens] = score[g];
            largest[g] = fmaxf(score[g], largest[g]);
        }
    }
    for (int g = 0; g < G; ++g) largest[g] = block_max(largest[g]);

    float sum[G] = {}, value[G][kMaxHeadDim / kWarp] = {};
    for (int64_t p = first_page; p * kPageTokens < tokens.end; p += kWarps) {
        const int64_t token = p * kPageTokens + lane();
        if (tokens.has(token))
            for (int g = 0; g < G; ++g) {
                float& w = weight[g][token % kRunTokens];
                sum[g] += w = expf(w - largest[g]);
            }
        __syncwarp();
        weigh_page<type, G>(a, row.span->pages[p], heads.kv, tokens, p * kPageTokens, weight,
                            value);
    }
    for (int g = 0; g < G; ++g) {
        sum[g] = block_sum(sum[g]);
#pragma unroll
        for (int j = 0; j < kMaxHeadDim / kWarp; ++j)
            sums[warp()][j * kWarp + lane()] = value[g][j];
        __syncthreads();
        float total[kOwned];
        for (int j = 0; j < kOwned; ++j) {
            total[j] = sums[0][owned(j)];
            for (int w = 1; w < kWarps; ++w) total[j] += sums[w][owned(j)];
        }
        merged[g].add(largest[g], sum[g], total);
        __syncthreads();
    }
}

}  // namespace genfast::cuda

// One block of context for one row's query heads that share a KV head, of a cache in f32, without
// tensor cores: scores, weights, and weighted values.
#pragma once

#include "kernels/attention/cuda_block.h"

namespace genfast::cuda {

struct Heads {
    int kv, query, count;  // query heads [query, query + count)
};

// The lane's token of a page by each query: a chain of fma over d.
template <int G>
__device__ inline void score_token(const AttentionArgs& a, int32_t page, int kv_head,
                                   const float (*query)[kMaxHeadDim], float (&score)[G]) {
    const auto* keys = reinterpret_cast<const float*>(a.cache + a.layout.keys(page, kv_head));
    for (int64_t d = 0; d < a.layout.head_dim; ++d) {
        const float k = keys[d * kPageTokens + lane()];
#pragma unroll
        for (int g = 0; g < G; ++g) score[g] = fmaf(query[g][d], k, score[g]);
    }
#pragma unroll
    for (int g = 0; g < G; ++g) score[g] *= a.scale;
}

// What a warp's page adds to the lane's numbers of the values, 32 apart.
template <int G>
__device__ inline void weigh_page(const AttentionArgs& a, int32_t page, int kv_head, Tokens tokens,
                                  int64_t first, const float (*weight)[kRunTokens],
                                  float (&value)[G][kMaxHeadDim / kWarp]) {
    for (int64_t s = 0; s < kPageTokens; ++s) {
        if (!tokens.has(first + s)) continue;  // whatever it holds
#pragma unroll
        for (int j = 0; j < kMaxHeadDim / kWarp; ++j) {
            if (j * kWarp >= a.layout.head_dim) break;
            // Lanes beyond the head take its last number, for nobody: nvcc follows every path of 8
            // branches, for minutes.
            const int64_t own = j * kWarp + lane(), last = a.layout.head_dim - 1;
            const int64_t d = own < last ? own : last;
            const float v = *reinterpret_cast<const float*>(
                a.cache + a.layout.values(page, kv_head, d / a.layout.panel()) +
                a.layout.value_element(s, d));
#pragma unroll
            for (int g = 0; g < G; ++g)
                value[g][j] = fmaf(weight[g][(first + s) % kRunTokens], v, value[g][j]);
        }
    }
}

// Adds the block to what is merged so far. Warps take its pages in turn.
template <int G>
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
        score_token<G>(a, row.span->pages[p], heads.kv, query, score);
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
        weigh_page<G>(a, row.span->pages[p], heads.kv, tokens, p * kPageTokens, weight, value);
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

// What is special about an int4 cache on a GPU: tokens of a page share bytes, keys are rotated, and
// 32 neighbouring d have a scale (kv_layout.h).
#pragma once

#include "cuda/half.h"
#include "kernels/attention/attention.h"
#include "kernels/attention/round_int4.h"

namespace genfast::cuda {

// Tokens [begin, end) of one page, whose rows begin at `keys` and `values`, `stride` floats apart.
struct PageTokens {
    const float *keys, *values;
    int64_t stride, begin, end;
    int32_t page;
    int head;
};

// d of a group, zeros beyond them.
__device__ inline void load_group(const float* row, int64_t first, int64_t D, float* x) {
    for (int64_t i = 0; i < kKvGroup; ++i) x[i] = first + i < D ? row[first + i] : 0;
}

// Rounds group g of token s; its values' nibbles go to `nibbles`, as their bytes are shared.
__device__ inline void store_group(const AttentionArgs& a, const PageTokens& tokens, int64_t s,
                                   int64_t g, uint8_t* nibbles) {
    const KvLayout& layout = a.layout;
    const int64_t first = g * kKvGroup, row = (s - tokens.begin) * tokens.stride;
    float x[kKvGroup];
    load_group(tokens.values + row, first, layout.head_dim, x);
    const uint16_t value_scale = round_group(x, nibbles);
    load_group(tokens.keys + row, first, layout.head_dim, x);
    if (first + kKvGroup <= layout.stored_dim()) rotate_group(x);
    uint8_t key[kKvGroup];
    const uint16_t key_scale = round_group(x, key);
    const int64_t at = (g * kPageTokens + s) * 2;
    auto scale = [&](size_t scales) { return reinterpret_cast<uint16_t*>(a.cache + scales + at); };
    // Through the key's scale a value that is not finite reaches the weights.
    *scale(layout.key_scales(tokens.page, tokens.head)) =
        value_scale == kNotFinite ? kNotFinite : key_scale;
    *scale(layout.value_scales(tokens.page, tokens.head)) = value_scale;
    for (int64_t d = first; d < first + kKvGroup && d < layout.stored_dim(); d += 8) {
        std::byte* to = a.cache + layout.keys(tokens.page, tokens.head) + layout.key_element(s, d);
        for (int i = 0; i < 4; ++i)
            to[i] = std::byte(key[d - first + i] | key[d - first + i + 4] << 4);
    }
}

// By a block.
__device__ inline void store_page(const AttentionArgs& a, const PageTokens& tokens) {
    __shared__ uint8_t nibbles[kPageTokens][kMaxHeadDim];
    const KvLayout& layout = a.layout;
    const int64_t groups = layout.panels(), Ds = layout.stored_dim();
    for (int64_t i = threadIdx.x; i < (tokens.end - tokens.begin) * groups; i += kThreads) {
        const int64_t s = tokens.begin + i / groups, g = i % groups;
        store_group(a, tokens, s, g, nibbles[s] + g * kKvGroup);
    }
    __syncthreads();
    auto has = [&](int64_t s) { return s >= tokens.begin && s < tokens.end; };
    for (int64_t i = threadIdx.x; i < kPageTokens / 2 * Ds; i += kThreads) {
        const int64_t d = i % Ds, pair = i / Ds, low = pair / 4 * 8 + pair % 4, high = low + 4;
        if (!has(low) && !has(high)) continue;
        std::byte* to = a.cache + layout.values(tokens.page, tokens.head, d / layout.panel()) +
                        layout.value_element(low, d);
        int both = int(*to);
        if (has(low)) both = (both & 0xf0) | nibbles[low][d];
        if (has(high)) both = (both & 0x0f) | nibbles[high][d] << 4;
        *to = std::byte(both);
    }
}

// Queries turned as the keys are, so that their products stay; by a block.
__device__ inline void rotate_query(const KvLayout& layout, float* query) {
    const int64_t groups = layout.stored_dim() / kKvGroup;
    for (int64_t g = threadIdx.x; g < groups; g += kThreads) {
        float* x = query + g * kKvGroup;
        rotate_group(x);
        for (int i = 0; i < kKvGroup; ++i) x[i] /= kKvGroup;
    }
}

__device__ inline float group_scale(const std::byte* scales, int64_t s, int64_t d) {
    return half_to_float(reinterpret_cast<const uint16_t*>(scales)[d / kKvGroup * kPageTokens + s]);
}

}  // namespace genfast::cuda

// What is special about an int4 cache on a GPU: tokens of a page share bytes, keys are rotated, and
// 32 neighbouring d have a scale (kv_layout.h).
#pragma once

#include "cuda/launch.h"
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

// ---- a group by a warp, an element a lane: with round_int4.h's order of every sum, its bits
static_assert(kKvGroup == kWarp);

__device__ inline float rotate_lane(float x) {
    for (int step = 0; step < 5; ++step) {
        const int pair = lane() % 16 * 2;
        const float a = __shfl_sync(~0u, x, pair), b = __shfl_sync(~0u, x, pair + 1);
        x = lane() < 16 ? a + b : a - b;
    }
    return x;
}

// Right in lane 0, which all get.
__device__ inline float sum_lanes(float x) {
    for (int n = kWarp / 2; n > 0; n /= 2) x += __shfl_sync(~0u, x, (lane() + n) % kWarp);
    return __shfl_sync(~0u, x, 0);
}

struct Rounded {
    uint32_t nibble;  // of the lane
    uint16_t scale;
};

__device__ inline Rounded round_lane(float x) {
    const bool finite = warp_sum(x - x) == 0;
    const float low = -warp_max(fmaxf(-x, 0)), high = warp_max(fmaxf(x, 0));
    uint16_t scale = finite ? 0 : kNotFinite;
    if (finite && !is_tiny(low, high)) {
        const float extreme = -low > high ? low : high;
        float best = 0, chosen = 0;
        for (int i = 0; i < kDivisors; ++i) {
            const float q = round_nibble(x, divisor(i) / extreme);
            const float with_x = sum_lanes(x * q);
            consider_scale(with_x, sum_lanes(q * q), &best, &chosen);
        }
        scale = stored_scale(chosen);
    }
    return {nibble_of(finite ? x : 0, inverse_scale(scale)), scale};
}

// Rounds group g of token s; its values' nibbles go to `nibbles`, as their bytes are shared.
__device__ inline void store_group(const AttentionArgs& a, const PageTokens& tokens, int64_t s,
                                   int64_t g, uint8_t* nibbles) {
    const KvLayout& layout = a.layout;
    const int64_t first = g * kKvGroup, d = first + lane();
    const int64_t at = (s - tokens.begin) * tokens.stride + d;
    const bool inside = d < layout.head_dim;
    const Rounded value = round_lane(inside ? tokens.values[at] : 0);
    nibbles[lane()] = uint8_t(value.nibble);
    float x = inside ? tokens.keys[at] : 0;
    if (first + kKvGroup <= layout.stored_dim()) x = rotate_lane(x);
    const Rounded key = round_lane(x);
    const uint32_t high = __shfl_sync(~0u, key.nibble, (lane() + 4) % kWarp);
    if (d < layout.stored_dim() && lane() % 8 < 4)
        a.cache[layout.keys(tokens.page, tokens.head) + layout.key_element(s, d)] =
            std::byte(key.nibble | high << 4);
    if (lane() > 0) return;
    auto scale = [&](size_t scales) -> uint16_t& {
        return reinterpret_cast<uint16_t*>(a.cache + scales)[g * kPageTokens + s];
    };
    // Through the key's scale a value that is not finite reaches the weights.
    scale(layout.key_scales(tokens.page, tokens.head)) =
        value.scale == kNotFinite ? kNotFinite : key.scale;
    scale(layout.value_scales(tokens.page, tokens.head)) = value.scale;
}

// By a block.
__device__ inline void store_page(const AttentionArgs& a, const PageTokens& tokens) {
    __shared__ uint8_t nibbles[kPageTokens][kMaxHeadDim];
    const KvLayout& layout = a.layout;
    const int64_t groups = layout.panels(), Ds = layout.stored_dim();
    for (int64_t i = warp(); i < (tokens.end - tokens.begin) * groups; i += kWarps) {
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

}  // namespace genfast::cuda

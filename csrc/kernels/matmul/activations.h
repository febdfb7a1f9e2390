// Activations as the microkernels want them (Layout in tiles.h), a row and 32 columns at a time.
//
// Quantised rows have one scale, max|x| / 127. A row that is not finite gets a NaN scale, so that
// what comes of it is NaN, not a plausible number.
#pragma once

#include "kernels/matmul/tiles.h"
#include "quant/int8.h"
#include "simd/vec.h"

namespace genfast::GENFAST_ISA {

constexpr int kChunk = 32;
static_assert(kChunk == kGroup);

struct RowScale {
    float scale, inverse;
};

static RowScale row_scale(const float* x, int64_t K) {
    Vec largest = vzero(), poison = vzero();
    for (int64_t k = 0; k < K; k += kLanes) {
        Vec v = vload_n(x + k, int(K - k < kLanes ? K - k : kLanes));
        largest = vmax(vabs(v), largest);
        poison = vadd(poison, vsub(v, v));  // 0, or NaN once a value was infinite or NaN
    }
    float max = vmaxall(largest);
    return {int8::scale_of(max) + vsum(poison), int8::inverse_of(max)};
}

// Row `j` of a tile, columns [k, k + 32) clipped to K (as in x) and `padded` (as stored).
// `tile` is the tile's start.
static void pack_chunk(Layout layout, const float* x, int64_t k, int64_t K, int64_t padded,
                       float inverse, int j, int MT, std::byte* tile) {
    const int valid = int(K - k < kChunk ? K - k : kChunk);
    const int stored = int(padded - k < kChunk ? padded - k : kChunk);
    Vec v[2];
    for (int i = 0; i < 2; ++i) {
        int n = valid - i * kLanes;
        v[i] = n > 0 ? vload_n(x + k + i * kLanes, n < kLanes ? n : kLanes) : vzero();
    }
    if (layout == Layout::bf16_floats || layout == Layout::bf16_pairs)
        for (Vec& part : v) part = vround_bf16(part);
    if (layout == Layout::f32 || layout == Layout::bf16_floats) {
        alignas(64) float values[kChunk];
        for (int i = 0; i < 2; ++i) vstore(values + i * kLanes, v[i]);
        float* out = reinterpret_cast<float*>(tile) + k * MT + j;
        for (int i = 0; i < stored; ++i) out[i * MT] = values[i];
        return;
    }
    if (layout == Layout::bf16_pairs) {
        alignas(64) uint16_t values[kChunk];
        for (int i = 0; i < 2; ++i) vstore_bf16(values + i * kLanes, v[i]);
        std::byte* out = tile + (k / 2 * MT + j) * 4;
        for (int i = 0; i < stored / 2; ++i) __builtin_memcpy(out + i * MT * 4, values + i * 2, 4);
        return;
    }
    alignas(64) int8_t q[kChunk];
    VecI rounded[2];
    for (int i = 0; i < 2; ++i) {
        rounded[i] = vtoi(vmul(v[i], vset(inverse)));
        istore_i8(q + i * kLanes, rounded[i]);
    }
    if (layout == Layout::u8_quads) {
        for (int i = 0; i < stored; i += 4) {
            uint32_t quad;
            __builtin_memcpy(&quad, q + i, 4);
            quad ^= 0x80808080u;  // + 128
            __builtin_memcpy(tile + ((k + i) / 4 * MT + j) * 4, &quad, 4);
        }
    } else if (layout == Layout::s16_pairs) {
        for (int i = 0; i < stored; i += 4) {
            int16_t pairs[4] = {q[i], q[i + 2], q[i + 1], q[i + 3]};
            __builtin_memcpy(tile + ((k + i) / 4 * MT + j) * 8, pairs, 8);
        }
    } else {
        int32_t sum = 0;
        for (int i = 0; i < kGroup; ++i) sum += q[i];
        sum *= -8;
        std::byte* group = tile + k / kGroup * MT * (kGroup + 4);
        __builtin_memcpy(group + j * 4, &sum, 4);
        for (int i = 0; i < kGroup; i += 4)
            __builtin_memcpy(group + (MT + i / 4 * MT + j) * 4, q + i, 4);
    }
}

}  // namespace genfast::GENFAST_ISA

// Activations as the microkernels want them (Layout in tiles.h), a row and 64 columns at a time.
//
// Quantised rows have one scale, max|x| / 127; int8's are rotated before (quant/rotation.h). A row
// that is not finite gets a NaN scale, so that what comes of it is NaN, not a plausible number.
#pragma once

#include "kernels/matmul/tiles.h"
#include "quant/int8.h"
#include "simd/fixed.h"
#include "simd/rotation.h"

namespace genfast::GENFAST_ISA {

constexpr int kChunk = 64;
constexpr int kChunkVecs = kChunk / kLanes;
static_assert(kChunk % kGroup == 0 && kChunk == kTileRowBytes);

struct RowScale {
    float scale, inverse;
};

static inline RowScale row_scale(const float* x, int64_t K) {
    Vec largest = vzero(), poison = vzero();
    for (int64_t k = 0; k < K; k += kLanes) {
        Vec v = vload_n(x + k, int(K - k < kLanes ? K - k : kLanes));
        largest = vmax(vabs(v), largest);
        poison = vadd(poison, vsub(v, v));  // 0, or NaN once a value was infinite or NaN
    }
    float max = vmaxall(largest);
    return {int8::scale_of(max) + vsum(poison), int8::inverse_of(max)};
}

// out [K] = the row as int8 quantises it
static inline void rotate_row(const float* x, int64_t K, float* out) {
    Vec v[kRotatedVecs];
    int64_t k = 0;
    for (; k + kRotation <= K; k += kRotation) {
        for (int i = 0; i < kRotatedVecs; ++i) v[i] = vload(x + k + i * kLanes);
        rotate_chunk(v, kRotation);
        for (int i = 0; i < kRotatedVecs; ++i) vstore(out + k + i * kLanes, v[i]);
    }
    if (k == K) return;
    const int columns = int(K - k);
    for (int i = 0; i < kRotatedVecs; ++i) {
        const int n = columns - i * kLanes;
        v[i] = n > 0 ? vload_n(x + k + i * kLanes, n) : vzero();
    }
    rotate_chunk(v, columns);
    for (int i = 0; i * kLanes < columns; ++i)
        vstore_n(out + k + i * kLanes, v[i], columns - i * kLanes);
}

// Consecutive dwords to places `stride` bytes apart: a tile holds a dword of each token in turn.
// `swap`: each two of them the other way around.
GENFAST_INLINE void spread(const void* dwords, int count, std::byte* to, int64_t stride,
                           bool swap = false) {
    const std::byte* from = static_cast<const std::byte*>(dwords);
#pragma GCC unroll 8
    for (int i = 0; i < count; ++i)
        __builtin_memcpy(to + (i ^ int(swap)) * stride, from + i * 4, 4);
}
// The same of eight bytes.
GENFAST_INLINE void spread_pairs(const int8_t* eights, int count, std::byte* to, int64_t stride) {
#pragma GCC unroll 8
    for (int i = 0; i < count; ++i) __builtin_memcpy(to + i * stride, eights + i * 8, 8);
}

// Where the bytes of token `j` from `byte` on lie in bf16_rows and s8_rows.
static inline std::byte* row_place(std::byte* tile, int64_t byte, int j, int MT) {
    return tile + (byte / kTileRowBytes * MT + j) * kTileRowBytes + byte % kTileRowBytes;
}

// Row `j` of a tile, columns [k, k + 64) clipped to K (as in x) and `padded` (as stored).
// `tile` is the tile's start.
static inline void pack_chunk(Layout layout, const float* x, int64_t k, int64_t K, int64_t padded,
                              float inverse, int j, int MT, std::byte* tile) {
    const int valid = int(K - k < kChunk ? K - k : kChunk);
    const int stored = int(padded - k < kChunk ? padded - k : kChunk);
    Vec v[kChunkVecs];
    for (int i = 0; i < kChunkVecs; ++i) {
        int n = valid - i * kLanes;
        v[i] = n <= 0       ? vzero()
               : n < kLanes ? vload_n(x + k + i * kLanes, n)
                            : vload(x + k + i * kLanes);
    }
    const int64_t row = int64_t(MT) * 4;  // bytes from one dword of a token to its next
    if (!is_quantised(layout)) {
        alignas(64) float values[kChunk];
        if (layout != Layout::f32)
            for (Vec& part : v) part = vround_bf16(part);
        if (layout == Layout::bf16_rows) {
            const int64_t end = round_up(padded, kTileRowBytes / 2);
            for (int i = 0; i < kChunkVecs && k + i * kLanes < end; ++i)
                vstore_bf16(
                    reinterpret_cast<uint16_t*>(row_place(tile, (k + i * kLanes) * 2, j, MT)),
                    v[i]);
            return;
        }
        if (layout == Layout::bf16_pairs) {
            for (int i = 0; i < kChunkVecs; ++i)
                vstore_bf16(reinterpret_cast<uint16_t*>(values) + i * kLanes, v[i]);
            return spread(values, stored / 2, tile + k / 2 * row + j * 4, row);
        }
        for (int i = 0; i < kChunkVecs; ++i) vstore(values + i * kLanes, v[i]);
        return spread(values, stored, tile + k * row + j * 4, row, layout == Layout::bf16_floats);
    }
    alignas(64) int8_t q[kChunk];
    VecI rounded[kChunkVecs];
    for (int i = 0; i < kChunkVecs; ++i) {
        rounded[i] = vtoi(vmul(v[i], vset(inverse)));
        istore_i8(q + i * kLanes, rounded[i]);
    }
    if (layout == Layout::s8_rows) {
        __builtin_memcpy(row_place(tile, k, j, MT), q, kChunk);
    } else if (layout == Layout::u8_quads) {
        istore(q, ixor(iload(q), iset(int32_t(0x80808080u))));  // + 128
        spread(q, stored / 4, tile + k / 4 * row + j * 4, row);
    } else if (layout == Layout::s8_quads) {
        spread(q, stored / 4, tile + k / 4 * row + j * 4, row);
    } else if (layout == Layout::s8_pairs) {
        const int64_t pairs = round_up(MT, 2) * 8;  // bytes from eight k of a token to its next
        spread_pairs(q, (stored + 7) / 8, tile + k / 8 * pairs + j * 8, pairs);
    } else if (layout == Layout::s16_pairs) {
        for (int i = 0; i < stored; i += 4) {
            int16_t pairs[4] = {q[i], q[i + 2], q[i + 1], q[i + 3]};
            __builtin_memcpy(tile + ((k + i) / 4 * MT + j) * 8, pairs, 8);
        }
    } else {
        const bool paired = layout == Layout::s8_pair_groups;
        const int64_t tokens = paired ? round_up(MT, 2) : MT;
        for (int i = 0; i < stored; i += kGroup) {
            // Unsigned: what is no number rounds to INT_MIN, and its row's scale spoils the result.
            int32_t sum = isum(iadd(rounded[i / kLanes], rounded[i / kLanes + 1]));
            sum = int32_t(uint32_t(sum) * uint32_t(-8));
            std::byte* group = tile + (k + i) / kGroup * tokens * (kGroup + 4);
            __builtin_memcpy(group + j * 4, &sum, 4);
            group += tokens * 4;
            if (paired)
                spread_pairs(q + i, kGroup / 8, group + j * 8, tokens * 8);
            else
                spread(q + i, kGroup / 4, group + j * 4, row);
        }
    }
}

}  // namespace genfast::GENFAST_ISA

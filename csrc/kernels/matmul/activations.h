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
    if (stride == 4 && !swap) {  // of one token: side by side
        __builtin_memcpy(to, from, size_t(count) * 4);
        return;
    }
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

// Columns [k, k + 64) of a row of a tile, `stored` of which the tile has, as the layout's numbers:
// floats, bf16 or bytes, side by side.
struct Chunk {
    alignas(64) std::byte numbers[kChunk * 4];
    int32_t sums[kChunk / kGroup];  // -8 * sum(q), where a layout has them
};

// x: `valid` columns; those after them are zeros.
static inline void convert(Layout layout, const float* x, int valid, float inverse, Chunk* out) {
    Vec v[kChunkVecs];
    for (int i = 0; i < kChunkVecs; ++i) {
        const int n = valid - i * kLanes;
        v[i] = n <= 0 ? vzero() : n < kLanes ? vload_n(x + i * kLanes, n) : vload(x + i * kLanes);
    }
    float* floats = reinterpret_cast<float*>(out->numbers);
    uint16_t* halves = reinterpret_cast<uint16_t*>(out->numbers);
    int8_t* q = reinterpret_cast<int8_t*>(out->numbers);
    if (layout == Layout::f32) {
        for (int i = 0; i < kChunkVecs; ++i) vstore(floats + i * kLanes, v[i]);
        return;
    }
    if (!is_quantised(layout)) {
        for (int i = 0; i < kChunkVecs; ++i) {
            const Vec rounded = vround_bf16(v[i]);
            if (layout == Layout::bf16_floats)
                vstore(floats + i * kLanes, rounded);
            else
                vstore_bf16(halves + i * kLanes, rounded);
        }
        return;
    }
    VecI rounded[kChunkVecs];
    for (int i = 0; i < kChunkVecs; ++i) {
        rounded[i] = vtoi(vmul(v[i], vset(inverse)));
        istore_i8(q + i * kLanes, rounded[i]);
    }
    if (layout == Layout::u8_quads) istore(q, ixor(iload(q), iset(int32_t(0x80808080u))));  // + 128
    if (layout != Layout::s8_groups && layout != Layout::s8_pair_groups) return;
    constexpr int kVecs = kGroup / kLanes;
    for (int g = 0; g < kChunk / kGroup; ++g) {
        // Unsigned: what is no number rounds to INT_MIN, and its row's scale spoils the result.
        const int32_t sum = isum(iadd(rounded[g * kVecs], rounded[g * kVecs + 1]));
        out->sums[g] = int32_t(uint32_t(sum) * uint32_t(-8));
    }
}

// The numbers of token `j` to their places in its tile.
static inline void place_row(Layout layout, const std::byte* numbers, const int32_t* sums,
                             int64_t k, int stored, int j, int MT, std::byte* tile) {
    const int64_t row = int64_t(MT) * 4;  // bytes from one dword of a token to its next
    const int8_t* q = reinterpret_cast<const int8_t*>(numbers);
    switch (layout) {
        case Layout::f32:
        case Layout::bf16_floats:
            return spread(numbers, stored, tile + k * row + j * 4, row,
                          layout == Layout::bf16_floats);
        case Layout::bf16_pairs:
            return spread(numbers, stored / 2, tile + k / 2 * row + j * 4, row);
        case Layout::u8_quads:
        case Layout::s8_quads:
            return spread(numbers, stored / 4, tile + k / 4 * row + j * 4, row);
        case Layout::bf16_rows:
            for (int i = 0; i < stored; i += kTileRowBytes / 2)
                __builtin_memcpy(row_place(tile, (k + i) * 2, j, MT), numbers + i * 2,
                                 kTileRowBytes);
            return;
        case Layout::s8_rows:
            __builtin_memcpy(row_place(tile, k, j, MT), numbers, kTileRowBytes);
            return;
        case Layout::s8_pairs: {
            const int64_t pairs = round_up(MT, 2) * 8;  // bytes from eight k of a token to its next
            return spread_pairs(q, (stored + 7) / 8, tile + k / 8 * pairs + j * 8, pairs);
        }
        case Layout::s16_pairs:
            for (int i = 0; i < stored; i += 4) {
                int16_t pairs[4] = {q[i], q[i + 2], q[i + 1], q[i + 3]};
                __builtin_memcpy(tile + ((k + i) / 4 * MT + j) * 8, pairs, 8);
            }
            return;
        case Layout::s8_groups:
        case Layout::s8_pair_groups:
            break;
    }
    const bool paired = layout == Layout::s8_pair_groups;
    const int64_t tokens = paired ? round_up(MT, 2) : MT;
    for (int i = 0; i < stored; i += kGroup) {
        std::byte* group = tile + (k + i) / kGroup * tokens * (kGroup + 4);
        __builtin_memcpy(group + j * 4, sums + i / kGroup, 4);
        group += tokens * 4;
        if (paired)
            spread_pairs(q + i, kGroup / 8, group + j * 8, tokens * 8);
        else
            spread(q + i, kGroup / 4, group + j * 4, row);
    }
}

// Row `j` of a tile, columns [k, k + 64) clipped to K (as in x) and `padded` (as stored).
// `tile` is the tile's start.
static inline void pack_chunk(Layout layout, const float* x, int64_t k, int64_t K, int64_t padded,
                              float inverse, int j, int MT, std::byte* tile) {
    Chunk chunk;
    convert(layout, x + k, int(K - k < kChunk ? K - k : kChunk), inverse, &chunk);
    const int stored = int(padded - k < kChunk ? padded - k : kChunk);
    place_row(layout, chunk.numbers, chunk.sums, k, stored, j, MT, tile);
}

// Tiles of dwords of each token in turn, and the columns that a dword holds; 0 for others.
constexpr int columns_of_dwords(Layout layout) {
    return layout == Layout::f32 || layout == Layout::bf16_floats     ? 1
           : layout == Layout::bf16_pairs                             ? 2
           : layout == Layout::u8_quads || layout == Layout::s8_quads ? 4
                                                                      : 0;
}

}  // namespace genfast::GENFAST_ISA

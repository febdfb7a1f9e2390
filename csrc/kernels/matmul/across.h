// Columns of up to sixteen tokens at once, with registers transposed: where a tile holds a dword of
// each token in turn, sixteen rows of it are stored instead of sixteen times as many dwords.
// AVX-512's; elsewhere a token's dwords are spread one by one (activations.h).
#pragma once

#include "kernels/matmul/tiles.h"
#include "simd/vec.h"

namespace genfast::GENFAST_ISA {

#if defined(__AVX512F__)

// Fewer tokens are spread sooner.
static inline bool fits_across(int MT) {
    return MT >= 4 && MT <= kLanes;
}

// Sixteen dwords of each token, at `offset` from numbers[j]; the first `count` of them are stored
// as rows of MT dwords from `to` on. `swap`: each two of these the other way around.
static inline void dwords_across(const std::byte* const* numbers, int64_t offset, int count, int MT,
                                 std::byte* to, bool swap) {
    VecI t[kLanes];
    for (int j = 0; j < kLanes; ++j) t[j] = j < MT ? iload(numbers[j] + offset) : izero();
    itranspose16(t);
    for (int i = 0; i < count; ++i)
        vstore_n(reinterpret_cast<float*>(to + i * MT * 4), vbits(t[i ^ int(swap)]), MT);
}

// 64 floats of each token as u8_quads: 128 + x * inverse.
static inline void quads_across(const std::byte* const* x, const float* inverse, int MT,
                                std::byte* to) {
    VecI t[kLanes];
    for (int j = 0; j < kLanes; ++j) {
        t[j] = izero();
        if (j >= MT) continue;
        const float* from = reinterpret_cast<const float*>(x[j]);
        VecI q[4];
        for (int i = 0; i < 4; ++i) q[i] = vtoi(vmul(vload(from + i * kLanes), vset(inverse[j])));
        t[j] = ixor(ipack_s8(q), iset(int32_t(0x80808080u)));
    }
    itranspose16(t);
    for (int i = 0; i < kLanes; ++i)
        vstore_n(reinterpret_cast<float*>(to + ipacked(i) * MT * 4), vbits(t[i]), MT);
}

#else

static inline bool fits_across(int) {
    return false;
}
static inline void dwords_across(const std::byte* const*, int64_t, int, int, std::byte*, bool) {}
static inline void quads_across(const std::byte* const*, const float*, int, std::byte*) {}

#endif

}  // namespace genfast::GENFAST_ISA

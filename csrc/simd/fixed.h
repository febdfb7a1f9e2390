// Exact products of bytes with 16-bit integers:  sum_k (byte[n][k] - zero) * a[k]  for sixteen n.
//
// Bytes are unsigned, `zero` (128, or 8 for nibbles) standing for 0; four consecutive k of one n
// lie in a dword (Bytes: sixteen n). The factors a, of magnitude at most kFixedMost, are packed
// four k to two dwords in whatever way this instruction set multiplies best. Sums are modulo 2^32,
// so only the final one has to fit 32 bits.
#pragma once

#include "simd/vec.h"

namespace genfast::GENFAST_ISA {

constexpr int32_t kFixedMost = 127 * 256;

#if defined(__AVX512F__)

// vpdpbusd multiplies unsigned by signed bytes: a = 256 high + low, summed apart.
struct Bytes {
    __m512i v;
};
struct FixedSum {
    __m512i high, low;
};
GENFAST_INLINE Bytes load_bytes(const void* p) {
    return {_mm512_loadu_si512(p)};
}
// The low nibble of every byte, and the high one.
GENFAST_INLINE void load_nibbles(const void* p, Bytes& low, Bytes& high) {
    __m512i both = _mm512_loadu_si512(p), nibble = _mm512_set1_epi8(15);
    low.v = _mm512_and_si512(both, nibble);
    high.v = _mm512_and_si512(_mm512_srli_epi16(both, 4), nibble);
}
GENFAST_INLINE FixedSum fixed_start(int32_t start) {
    return {_mm512_setzero_si512(), _mm512_set1_epi32(start)};
}
// By name: from the intrinsic, gcc 12 makes a tile's sums wander between registers and the stack.
GENFAST_INLINE void fixed_add(FixedSum& sum, Bytes bytes, const int32_t* a) {
    asm("vpdpbusd %2, %1, %0" : "+v"(sum.high) : "v"(bytes.v), "v"(_mm512_set1_epi32(a[0])));
    asm("vpdpbusd %2, %1, %0" : "+v"(sum.low) : "v"(bytes.v), "v"(_mm512_set1_epi32(a[1])));
}
GENFAST_INLINE VecI fixed_total(FixedSum sum) {
    return {_mm512_add_epi32(_mm512_slli_epi32(sum.high, 8), sum.low)};
}
// Sixteen factors become eight dwords. After adding 128, the second byte is the high factor and the
// first one the low factor with its top bit flipped.
GENFAST_INLINE void fixed_pack(VecI a, int32_t* to) {
    __m512i order = _mm512_broadcast_i32x4(
        _mm_setr_epi8(1, 5, 9, 13, 0, 4, 8, 12, -1, -1, -1, -1, -1, -1, -1, -1));
    __m512i bytes = _mm512_shuffle_epi8(_mm512_add_epi32(a.v, _mm512_set1_epi32(128)), order);
    bytes = _mm512_xor_si512(bytes, _mm512_set1_epi64(int64_t(0x8080808000000000)));
    bytes = _mm512_permutexvar_epi64(_mm512_setr_epi64(0, 2, 4, 6, 0, 0, 0, 0), bytes);
    _mm256_storeu_si256((__m256i*)to, _mm512_castsi512_si256(bytes));
}

#elif defined(__AVX2__)

// vpmaddwd multiplies words: bytes 0, 2 and bytes 1, 3 of every dword are widened apart.
struct Bytes {
    __m256i even[2], odd[2];
};
struct FixedSum {
    __m256i lo, hi;
};
GENFAST_INLINE Bytes load_bytes(const void* p) {
    VecI both = iload(p);
    __m256i low = _mm256_set1_epi16(0xff);
    return {{_mm256_and_si256(both.lo, low), _mm256_and_si256(both.hi, low)},
            {_mm256_srli_epi16(both.lo, 8), _mm256_srli_epi16(both.hi, 8)}};
}
GENFAST_INLINE void load_nibbles(const void* p, Bytes& low, Bytes& high) {
    VecI both = iload(p);
    __m256i nibble = _mm256_set1_epi16(15), half[2] = {both.lo, both.hi};
    for (int i = 0; i < 2; ++i) {
        low.even[i] = _mm256_and_si256(half[i], nibble);
        high.even[i] = _mm256_and_si256(_mm256_srli_epi16(half[i], 4), nibble);
        low.odd[i] = _mm256_and_si256(_mm256_srli_epi16(half[i], 8), nibble);
        high.odd[i] = _mm256_srli_epi16(half[i], 12);
    }
}
GENFAST_INLINE FixedSum fixed_start(int32_t start) {
    return {_mm256_set1_epi32(start), _mm256_set1_epi32(start)};
}
GENFAST_INLINE void fixed_add(FixedSum& sum, Bytes bytes, const int32_t* a) {
    __m256i even = _mm256_set1_epi32(a[0]), odd = _mm256_set1_epi32(a[1]);
    sum.lo = _mm256_add_epi32(sum.lo, _mm256_add_epi32(_mm256_madd_epi16(bytes.even[0], even),
                                                       _mm256_madd_epi16(bytes.odd[0], odd)));
    sum.hi = _mm256_add_epi32(sum.hi, _mm256_add_epi32(_mm256_madd_epi16(bytes.even[1], even),
                                                       _mm256_madd_epi16(bytes.odd[1], odd)));
}
GENFAST_INLINE VecI fixed_total(FixedSum sum) {
    return {sum.lo, sum.hi};
}
GENFAST_INLINE void fixed_pack(VecI a, int32_t* to) {
    __m128i order = _mm_setr_epi8(0, 1, 8, 9, 4, 5, 12, 13, -1, -1, -1, -1, -1, -1, -1, -1);
    __m128i part[4] = {_mm256_castsi256_si128(a.lo), _mm256_extracti128_si256(a.lo, 1),
                       _mm256_castsi256_si128(a.hi), _mm256_extracti128_si256(a.hi, 1)};
    for (int i = 0; i < 4; ++i)
        _mm_storel_epi64((__m128i*)(to + 2 * i), _mm_shuffle_epi8(part[i], order));
}

#else

// sdot multiplies signed by signed bytes: here zero is taken off the bytes as they are loaded, not
// off the sum. a = 256 high + low, summed apart.
struct Bytes {
    int8x16_t q[4];
};
struct FixedSum {
    int32x4_t high[4], low[4];
};
GENFAST_INLINE Bytes load_bytes(const void* p) {
    VecI bytes = ixor(iload(p), iset(int32_t(0x80808080u)));
    return {{vreinterpretq_s8_u32(bytes.q[0]), vreinterpretq_s8_u32(bytes.q[1]),
             vreinterpretq_s8_u32(bytes.q[2]), vreinterpretq_s8_u32(bytes.q[3])}};
}
GENFAST_INLINE void load_nibbles(const void* p, Bytes& low, Bytes& high) {
    for (int i = 0; i < 4; ++i) {
        uint8x16_t both = vld1q_u8((const uint8_t*)p + 16 * i);
        int8x16_t zero = vdupq_n_s8(8);
        low.q[i] = vsubq_s8(vreinterpretq_s8_u8(vandq_u8(both, vdupq_n_u8(15))), zero);
        high.q[i] = vsubq_s8(vreinterpretq_s8_u8(vshrq_n_u8(both, 4)), zero);
    }
}
GENFAST_INLINE FixedSum fixed_start(int32_t) {
    int32x4_t zero = vdupq_n_s32(0);
    return {{zero, zero, zero, zero}, {zero, zero, zero, zero}};
}
GENFAST_INLINE void fixed_add(FixedSum& sum, Bytes bytes, const int32_t* a) {
    int8x8_t factors = vld1_s8((const int8_t*)a);
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) {
        sum.high[i] = vdotq_lane_s32(sum.high[i], bytes.q[i], factors, 0);
        sum.low[i] = vdotq_lane_s32(sum.low[i], bytes.q[i], factors, 1);
    }
}
GENFAST_INLINE VecI fixed_total(FixedSum sum) {
    VecI total;
    for (int i = 0; i < 4; ++i)
        total.q[i] = vaddq_u32(vshlq_n_u32(vreinterpretq_u32_s32(sum.high[i]), 8),
                               vreinterpretq_u32_s32(sum.low[i]));
    return total;
}
// As on AVX-512: after adding 128, the second byte is the high factor and the first one the low
// factor with its top bit flipped.
GENFAST_INLINE void fixed_pack(VecI a, int32_t* to) {
    for (int i = 0; i < 4; i += 2, to += 4) {
        uint16x8_t words =
            vuzp1q_u16(vreinterpretq_u16_u32(a.q[i]), vreinterpretq_u16_u32(a.q[i + 1]));
        words = vaddq_u16(words, vdupq_n_u16(128));
        uint32x2_t high = vreinterpret_u32_u8(vshrn_n_u16(words, 8));
        uint32x2_t low = vreinterpret_u32_u8(veor_u8(vmovn_u16(words), vdup_n_u8(128)));
        vst1_s32(to, vreinterpret_s32_u32(vzip1_u32(high, low)));
        vst1_s32(to + 2, vreinterpret_s32_u32(vzip2_u32(high, low)));
    }
}

#endif

// Of all lanes, modulo 2^32. By halves on AVX-512 too: its own reduction adds signed integers,
// whose overflow C++ leaves undefined.
GENFAST_INLINE int32_t isum(VecI a) {
#if defined(__aarch64__)
    return int32_t(vaddvq_u32(vaddq_u32(vaddq_u32(a.q[0], a.q[1]), vaddq_u32(a.q[2], a.q[3]))));
#else
#if defined(__AVX512F__)
    __m256i s8 = _mm256_add_epi32(_mm512_castsi512_si256(a.v), _mm512_extracti64x4_epi64(a.v, 1));
#else
    __m256i s8 = _mm256_add_epi32(a.lo, a.hi);
#endif
    __m128i s4 = _mm_add_epi32(_mm256_castsi256_si128(s8), _mm256_extracti128_si256(s8, 1));
    __m128i s2 = _mm_add_epi32(s4, _mm_shuffle_epi32(s4, 0x4e));
    return _mm_cvtsi128_si32(_mm_add_epi32(s2, _mm_shuffle_epi32(s2, 0xb1)));
#endif
}

}  // namespace genfast::GENFAST_ISA

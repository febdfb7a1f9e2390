// Sixteen float lanes in one zmm register. See vec.h for the vocabulary.
#pragma once

#include <immintrin.h>

#include <cstdint>

#define GENFAST_INLINE static inline __attribute__((always_inline))

namespace genfast::GENFAST_ISA {

struct Vec {
    __m512 v;
};
struct VecI {
    __m512i v;
};

GENFAST_INLINE __mmask16 first_lanes(int n) {
    return n >= 16 ? __mmask16(0xffff) : __mmask16((1u << n) - 1);
}

GENFAST_INLINE Vec vzero() {
    return {_mm512_setzero_ps()};
}
GENFAST_INLINE Vec vset(float x) {
    return {_mm512_set1_ps(x)};
}
GENFAST_INLINE Vec vload(const float* p) {
    return {_mm512_loadu_ps(p)};
}
GENFAST_INLINE void vstore(float* p, Vec a) {
    _mm512_storeu_ps(p, a.v);
}
GENFAST_INLINE Vec vload_n(const float* p, int n) {
    return {_mm512_maskz_loadu_ps(first_lanes(n), p)};
}
GENFAST_INLINE void vstore_n(float* p, Vec a, int n) {
    _mm512_mask_storeu_ps(p, first_lanes(n), a.v);
}
GENFAST_INLINE Vec vadd(Vec a, Vec b) {
    return {_mm512_add_ps(a.v, b.v)};
}
GENFAST_INLINE Vec vsub(Vec a, Vec b) {
    return {_mm512_sub_ps(a.v, b.v)};
}
GENFAST_INLINE Vec vmul(Vec a, Vec b) {
    return {_mm512_mul_ps(a.v, b.v)};
}
GENFAST_INLINE Vec vdiv(Vec a, Vec b) {
    return {_mm512_div_ps(a.v, b.v)};
}
GENFAST_INLINE Vec vfma(Vec a, Vec b, Vec c) {
    return {_mm512_fmadd_ps(a.v, b.v, c.v)};
}
GENFAST_INLINE Vec vmax(Vec a, Vec b) {
    return {_mm512_max_ps(a.v, b.v)};
}
GENFAST_INLINE Vec vmin(Vec a, Vec b) {
    return {_mm512_min_ps(a.v, b.v)};
}
GENFAST_INLINE Vec vabs(Vec a) {
    return {_mm512_abs_ps(a.v)};
}
GENFAST_INLINE Vec vand(Vec a, Vec b) {
    return {_mm512_and_ps(a.v, b.v)};
}
GENFAST_INLINE Vec vround(Vec a) {
    return {_mm512_roundscale_ps(a.v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)};
}
// Lanes i and i + distance, where i lacks that bit, become their sum and their difference.
template <int distance>
GENFAST_INLINE Vec vbutterfly(Vec a) {
    constexpr __mmask16 upper = distance == 1   ? 0xaaaa
                                : distance == 2 ? 0xcccc
                                : distance == 4 ? 0xf0f0
                                                : 0xff00;
    __m512 other;
    if constexpr (distance < 4)
        other = _mm512_permute_ps(a.v, distance == 1 ? 0xb1 : 0x4e);
    else
        other = _mm512_shuffle_f32x4(a.v, a.v, distance == 4 ? 0xb1 : 0x4e);
    __m512 sign = _mm512_mask_blend_ps(upper, _mm512_set1_ps(1), _mm512_set1_ps(-1));
    return {_mm512_fmadd_ps(a.v, sign, other)};  // rounds once, as an addition does
}
// a < b ? x : y, lane by lane
GENFAST_INLINE Vec vselect_lt(Vec a, Vec b, Vec x, Vec y) {
    return {_mm512_mask_blend_ps(_mm512_cmp_ps_mask(a.v, b.v, _CMP_LT_OQ), y.v, x.v)};
}
// a bit a lane: a >= b, a > b (false for NaN)
GENFAST_INLINE uint32_t vmask_ge(Vec a, Vec b) {
    return _mm512_cmp_ps_mask(a.v, b.v, _CMP_GE_OQ);
}
GENFAST_INLINE uint32_t vmask_gt(Vec a, Vec b) {
    return _mm512_cmp_ps_mask(a.v, b.v, _CMP_GT_OQ);
}
// acc + (a >= b ? a : 0), lane by lane
GENFAST_INLINE Vec vadd_ge(Vec acc, Vec a, Vec b) {
    return {_mm512_mask_add_ps(acc.v, _mm512_cmp_ps_mask(a.v, b.v, _CMP_GE_OQ), acc.v, a.v)};
}
// keeps the first n lanes, the others become `fill`
GENFAST_INLINE Vec vkeep_n(Vec a, int n, Vec fill) {
    return {_mm512_mask_blend_ps(first_lanes(n), fill.v, a.v)};
}

// Sixteen pairs (a0 b0 a1 b1 ...): the a's and the b's
GENFAST_INLINE void vload_pairs(const float* p, Vec& first, Vec& second) {
    __m512i even = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
    __m512i odd = _mm512_add_epi32(even, _mm512_set1_epi32(1));
    __m512 a = _mm512_loadu_ps(p), b = _mm512_loadu_ps(p + 16);
    first.v = _mm512_permutex2var_ps(a, even, b);
    second.v = _mm512_permutex2var_ps(a, odd, b);
}
GENFAST_INLINE void vstore_pairs(float* p, Vec first, Vec second) {
    __m512i low = _mm512_setr_epi32(0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
    __m512i high = _mm512_add_epi32(low, _mm512_set1_epi32(8));
    _mm512_storeu_ps(p, _mm512_permutex2var_ps(first.v, low, second.v));
    _mm512_storeu_ps(p + 16, _mm512_permutex2var_ps(first.v, high, second.v));
}

GENFAST_INLINE float vsum(Vec a) {
    __m256 s8 = _mm256_add_ps(_mm512_castps512_ps256(a.v), _mm512_extractf32x8_ps(a.v, 1));
    __m128 s4 = _mm_add_ps(_mm256_castps256_ps128(s8), _mm256_extractf128_ps(s8, 1));
    __m128 s2 = _mm_add_ps(s4, _mm_movehl_ps(s4, s4));
    return _mm_cvtss_f32(_mm_add_ss(s2, _mm_movehdup_ps(s2)));
}
GENFAST_INLINE float vmaxall(Vec a) {
    return _mm512_reduce_max_ps(a.v);
}

// Lane i: the largest lane of rows[i]. Two rows share a register after each step.
GENFAST_INLINE Vec vmaxall16(const Vec* rows) {
    __m512 a[8], b[4], c[2];
    for (int i = 0; i < 8; ++i) {
        __m512 x = rows[2 * i].v, y = rows[2 * i + 1].v;
        a[i] = _mm512_max_ps(_mm512_unpacklo_ps(x, y), _mm512_unpackhi_ps(x, y));
    }
    for (int i = 0; i < 4; ++i) {
        __m512d x = _mm512_castps_pd(a[2 * i]), y = _mm512_castps_pd(a[2 * i + 1]);
        b[i] = _mm512_max_ps(_mm512_castpd_ps(_mm512_unpacklo_pd(x, y)),
                             _mm512_castpd_ps(_mm512_unpackhi_pd(x, y)));
    }
    for (int i = 0; i < 2; ++i)
        c[i] = _mm512_max_ps(_mm512_shuffle_f32x4(b[2 * i], b[2 * i + 1], 0x44),
                             _mm512_shuffle_f32x4(b[2 * i], b[2 * i + 1], 0xee));
    return {_mm512_max_ps(_mm512_shuffle_f32x4(c[0], c[1], 0x88),
                          _mm512_shuffle_f32x4(c[0], c[1], 0xdd))};
}

GENFAST_INLINE VecI izero() {
    return {_mm512_setzero_si512()};
}
GENFAST_INLINE VecI iset(int32_t x) {
    return {_mm512_set1_epi32(x)};
}
GENFAST_INLINE VecI iload(const void* p) {
    return {_mm512_loadu_si512(p)};
}
GENFAST_INLINE void istore(void* p, VecI a) {
    _mm512_storeu_si512(p, a.v);
}
GENFAST_INLINE VecI ixor(VecI a, VecI b) {
    return {_mm512_xor_si512(a.v, b.v)};
}
GENFAST_INLINE VecI iadd(VecI a, VecI b) {
    return {_mm512_add_epi32(a.v, b.v)};
}
GENFAST_INLINE VecI iand(VecI a, VecI b) {
    return {_mm512_and_si512(a.v, b.v)};
}
// The lanes that mask names, packed to the front of p; up to 16 lanes of p may be written.
GENFAST_INLINE void vcompress(float* p, Vec a, uint32_t mask) {
    _mm512_storeu_ps(p, _mm512_maskz_compress_ps(__mmask16(mask), a.v));
}
GENFAST_INLINE void icompress(int32_t* p, VecI a, uint32_t mask) {
    _mm512_storeu_si512(p, _mm512_maskz_compress_epi32(__mmask16(mask), a.v));
}
GENFAST_INLINE VecI iota(int32_t first) {
    __m512i steps = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    return {_mm512_add_epi32(steps, _mm512_set1_epi32(first))};
}
GENFAST_INLINE Vec vfromi(VecI a) {
    return {_mm512_cvtepi32_ps(a.v)};
}
GENFAST_INLINE VecI vtoi(Vec a) {
    return {_mm512_cvtps_epi32(a.v)};
}  // to nearest, ties to even
// x * 2^n for integral n in [-126, 127] and normal results
GENFAST_INLINE Vec vscale2(Vec x, Vec n) {
    return {_mm512_scalef_ps(x.v, n.v)};
}
GENFAST_INLINE Vec vload_bf16(const uint16_t* p) {
    __m512i wide = _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i*)p));
    return {_mm512_castsi512_ps(_mm512_slli_epi32(wide, 16))};
}
// Sixteen pairs (a0 b0 a1 b1 ...): the a's and the b's
GENFAST_INLINE void vload_bf16_pairs(const uint16_t* p, Vec& first, Vec& second) {
    __m512i both = _mm512_loadu_si512(p);
    first.v = _mm512_castsi512_ps(_mm512_slli_epi32(both, 16));
    second.v = _mm512_castsi512_ps(_mm512_and_si512(both, _mm512_set1_epi32(int(0xffff0000u))));
}
GENFAST_INLINE Vec vload_f16(const uint16_t* p) {
    return {_mm512_cvtph_ps(_mm256_loadu_si256((const __m256i*)p))};
}
// Rounded to bfloat16's nearest, ties to even; finite values, infinities and the usual NaN
GENFAST_INLINE Vec vround_bf16(Vec a) {
    __m512i bits = _mm512_castps_si512(a.v);
    __m512i odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
    __m512i up = _mm512_add_epi32(bits, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff)));
    return {_mm512_castsi512_ps(_mm512_and_si512(up, _mm512_set1_epi32(int(0xffff0000u))))};
}
// Of values that are bfloat16 numbers already
GENFAST_INLINE void vstore_bf16(uint16_t* p, Vec a) {
    __m512i high = _mm512_srli_epi32(_mm512_castps_si512(a.v), 16);
    _mm256_storeu_si256((__m256i*)p, _mm512_cvtepi32_epi16(high));
}
// Rounds like vround_bf16, but what is too small for a normal number becomes 0. Only where
// cpu_has_avx512_bf16().
GENFAST_INLINE void vstore_round_bf16(uint16_t* p, Vec a) {
    __m256i narrow;
    asm("vcvtneps2bf16 %1, %0" : "=v"(narrow) : "v"(a.v));
    _mm256_storeu_si256((__m256i*)p, narrow);
}
// Sixteen pairs (a0 b0 a1 b1 ...), rounded so. Only where cpu_has_avx512_bf16().
GENFAST_INLINE void vstore_round_bf16_pairs(void* p, Vec a, Vec b) {
    __m512i both;  // all of a, then all of b
    asm("vcvtne2ps2bf16 %1, %2, %0" : "=v"(both) : "v"(a.v), "v"(b.v));
    struct Order {
        alignas(64) uint16_t from[32];
    };
    static constexpr Order order = [] {
        Order pairs{};
        for (uint16_t i = 0; i < 16; ++i)
            pairs.from[2 * i] = i, pairs.from[2 * i + 1] = uint16_t(16 + i);
        return pairs;
    }();
    _mm512_storeu_si512(p, _mm512_permutexvar_epi16(_mm512_load_si512(order.from), both));
}
// acc + a b over sixteen pairs of bfloat16: the second of each pair by a fused multiply-add, then
// the first. Only where cpu_has_avx512_bf16(). Not the intrinsic: g++ 12 gives its result a new
// register, and with 24 accumulators live copies every one through the stack.
GENFAST_INLINE void vdot_bf16(Vec& acc, Vec a, Vec b) {
    asm("vdpbf16ps %2, %1, %0" : "+v"(acc.v) : "v"(a.v), "v"(b.v));
}
// Sixteen int32 in [-128, 127] to bytes
GENFAST_INLINE void istore_i8(int8_t* p, VecI a) {
    _mm_storeu_si128((__m128i*)p, _mm512_cvtepi32_epi8(a.v));
}
// 64 integers of eight bits as such, four to a dword: dword i holds the four from 4 * ipacked(i)
// on.
GENFAST_INLINE VecI ipack_s8(const VecI* a) {
    __m512i low = _mm512_packs_epi32(a[0].v, a[1].v), high = _mm512_packs_epi32(a[2].v, a[3].v);
    return {_mm512_packs_epi16(low, high)};
}
constexpr int ipacked(int dword) {
    return dword % 4 * 4 + dword / 4;
}

// The bits of sixteen floats
GENFAST_INLINE Vec vbits(VecI a) {
    return {_mm512_castsi512_ps(a.v)};
}
GENFAST_INLINE VecI ibits(Vec a) {
    return {_mm512_castps_si512(a.v)};
}
template <int bits>
GENFAST_INLINE VecI ishl(VecI a) {
    return {_mm512_slli_epi32(a.v, bits)};
}
// To the right: zeros come in, or the sign.
template <int bits>
GENFAST_INLINE VecI ishr(VecI a) {
    return {_mm512_srli_epi32(a.v, bits)};
}
template <int bits>
GENFAST_INLINE VecI isar(VecI a) {
    return {_mm512_srai_epi32(a.v, bits)};
}
// Rounded to float16's nearest, ties to even
GENFAST_INLINE void vstore_f16(uint16_t* p, Vec a) {
    _mm256_storeu_si256((__m256i*)p, _mm512_cvtps_ph(a.v, _MM_FROUND_TO_NEAREST_INT));
}
// Sixteen vectors of sixteen dwords: lane j of vector i becomes lane i of vector j
GENFAST_INLINE void itranspose16(VecI* t) {
    __m512i a[16], b[16];
    for (int i = 0; i < 16; i += 2) {
        a[i] = _mm512_unpacklo_epi32(t[i].v, t[i + 1].v);
        a[i + 1] = _mm512_unpackhi_epi32(t[i].v, t[i + 1].v);
    }
    for (int i = 0; i < 16; i += 4)  // b[i + j]: dword column j of each 128-bit lane, four rows
        for (int j = 0; j < 2; ++j) {
            b[i + 2 * j] = _mm512_unpacklo_epi64(a[i + j], a[i + 2 + j]);
            b[i + 2 * j + 1] = _mm512_unpackhi_epi64(a[i + j], a[i + 2 + j]);
        }
    for (int j = 0; j < 4; ++j) {
        __m512i low02 = _mm512_shuffle_i32x4(b[j], b[j + 4], 0x88);
        __m512i low13 = _mm512_shuffle_i32x4(b[j], b[j + 4], 0xdd);
        __m512i high02 = _mm512_shuffle_i32x4(b[j + 8], b[j + 12], 0x88);
        __m512i high13 = _mm512_shuffle_i32x4(b[j + 8], b[j + 12], 0xdd);
        t[j].v = _mm512_shuffle_i32x4(low02, high02, 0x88);
        t[j + 4].v = _mm512_shuffle_i32x4(low13, high13, 0x88);
        t[j + 8].v = _mm512_shuffle_i32x4(low02, high02, 0xdd);
        t[j + 12].v = _mm512_shuffle_i32x4(low13, high13, 0xdd);
    }
}

}  // namespace genfast::GENFAST_ISA

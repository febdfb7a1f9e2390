// Sixteen float lanes in two ymm registers. See vec.h for the vocabulary.
#pragma once

#include <immintrin.h>

#include <cstdint>

#define GENFAST_INLINE static inline __attribute__((always_inline))

namespace genfast::GENFAST_ISA {

struct Vec {
    __m256 lo, hi;
};
struct VecI {
    __m256i lo, hi;
};

GENFAST_INLINE __m256i first_lanes8(int n) {
    return _mm256_cmpgt_epi32(_mm256_set1_epi32(n), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}

GENFAST_INLINE Vec vzero() {
    return {_mm256_setzero_ps(), _mm256_setzero_ps()};
}
GENFAST_INLINE Vec vset(float x) {
    return {_mm256_set1_ps(x), _mm256_set1_ps(x)};
}
GENFAST_INLINE Vec vload(const float* p) {
    return {_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)};
}
GENFAST_INLINE void vstore(float* p, Vec a) {
    _mm256_storeu_ps(p, a.lo);
    _mm256_storeu_ps(p + 8, a.hi);
}
GENFAST_INLINE Vec vload_n(const float* p, int n) {
    return {_mm256_maskload_ps(p, first_lanes8(n)),
            n > 8 ? _mm256_maskload_ps(p + 8, first_lanes8(n - 8)) : _mm256_setzero_ps()};
}
GENFAST_INLINE void vstore_n(float* p, Vec a, int n) {
    _mm256_maskstore_ps(p, first_lanes8(n), a.lo);
    if (n > 8) _mm256_maskstore_ps(p + 8, first_lanes8(n - 8), a.hi);
}

#define GENFAST_LANEWISE(name, intrinsic)                      \
    GENFAST_INLINE Vec name(Vec a, Vec b) {                    \
        return {intrinsic(a.lo, b.lo), intrinsic(a.hi, b.hi)}; \
    }
GENFAST_LANEWISE(vadd, _mm256_add_ps)
GENFAST_LANEWISE(vsub, _mm256_sub_ps)
GENFAST_LANEWISE(vmul, _mm256_mul_ps)
GENFAST_LANEWISE(vdiv, _mm256_div_ps)
GENFAST_LANEWISE(vmax, _mm256_max_ps)
GENFAST_LANEWISE(vmin, _mm256_min_ps)
#undef GENFAST_LANEWISE

GENFAST_INLINE Vec vfma(Vec a, Vec b, Vec c) {
    return {_mm256_fmadd_ps(a.lo, b.lo, c.lo), _mm256_fmadd_ps(a.hi, b.hi, c.hi)};
}
GENFAST_INLINE Vec vabs(Vec a) {
    __m256 sign = _mm256_set1_ps(-0.0f);
    return {_mm256_andnot_ps(sign, a.lo), _mm256_andnot_ps(sign, a.hi)};
}
GENFAST_INLINE Vec vround(Vec a) {
    constexpr int nearest = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC;
    return {_mm256_round_ps(a.lo, nearest), _mm256_round_ps(a.hi, nearest)};
}
template <int distance>
GENFAST_INLINE __m256 butterfly8(__m256 a) {
    __m256 other, sign;
    if constexpr (distance == 1) {
        other = _mm256_permute_ps(a, 0xb1);
        sign = _mm256_setr_ps(1, -1, 1, -1, 1, -1, 1, -1);
    } else if constexpr (distance == 2) {
        other = _mm256_permute_ps(a, 0x4e);
        sign = _mm256_setr_ps(1, 1, -1, -1, 1, 1, -1, -1);
    } else {
        other = _mm256_permute2f128_ps(a, a, 1);
        sign = _mm256_setr_ps(1, 1, 1, 1, -1, -1, -1, -1);
    }
    return _mm256_fmadd_ps(a, sign, other);  // rounds once, as an addition does
}
// Lanes i and i + distance, where i lacks that bit, become their sum and their difference.
template <int distance>
GENFAST_INLINE Vec vbutterfly(Vec a) {
    if constexpr (distance == 8)
        return {_mm256_add_ps(a.lo, a.hi), _mm256_sub_ps(a.lo, a.hi)};
    else
        return {butterfly8<distance>(a.lo), butterfly8<distance>(a.hi)};
}
// a < b ? x : y, lane by lane
GENFAST_INLINE Vec vselect_lt(Vec a, Vec b, Vec x, Vec y) {
    return {_mm256_blendv_ps(y.lo, x.lo, _mm256_cmp_ps(a.lo, b.lo, _CMP_LT_OQ)),
            _mm256_blendv_ps(y.hi, x.hi, _mm256_cmp_ps(a.hi, b.hi, _CMP_LT_OQ))};
}
// a bit a lane: a >= b, a > b (false for NaN)
GENFAST_INLINE uint32_t vmask_ge(Vec a, Vec b) {
    uint32_t low = uint32_t(_mm256_movemask_ps(_mm256_cmp_ps(a.lo, b.lo, _CMP_GE_OQ)));
    uint32_t high = uint32_t(_mm256_movemask_ps(_mm256_cmp_ps(a.hi, b.hi, _CMP_GE_OQ)));
    return low | high << 8;
}
GENFAST_INLINE uint32_t vmask_gt(Vec a, Vec b) {
    uint32_t low = uint32_t(_mm256_movemask_ps(_mm256_cmp_ps(a.lo, b.lo, _CMP_GT_OQ)));
    uint32_t high = uint32_t(_mm256_movemask_ps(_mm256_cmp_ps(a.hi, b.hi, _CMP_GT_OQ)));
    return low | high << 8;
}
// acc + (a >= b ? a : 0), lane by lane
GENFAST_INLINE Vec vadd_ge(Vec acc, Vec a, Vec b) {
    __m256 low = _mm256_and_ps(_mm256_cmp_ps(a.lo, b.lo, _CMP_GE_OQ), a.lo);
    __m256 high = _mm256_and_ps(_mm256_cmp_ps(a.hi, b.hi, _CMP_GE_OQ), a.hi);
    return {_mm256_add_ps(acc.lo, low), _mm256_add_ps(acc.hi, high)};
}
// keeps the first n lanes, the others become `fill`
GENFAST_INLINE Vec vkeep_n(Vec a, int n, Vec fill) {
    return {_mm256_blendv_ps(fill.lo, a.lo, _mm256_castsi256_ps(first_lanes8(n))),
            _mm256_blendv_ps(fill.hi, a.hi, _mm256_castsi256_ps(first_lanes8(n - 8)))};
}

// Sixteen pairs (a0 b0 a1 b1 ...): the a's and the b's
GENFAST_INLINE void vload_pairs(const float* p, Vec& first, Vec& second) {
    __m256 part[2][2];
    for (int i = 0; i < 2; ++i) {
        __m256 a = _mm256_loadu_ps(p + 16 * i), b = _mm256_loadu_ps(p + 16 * i + 8);
        __m256 low = _mm256_permute2f128_ps(a, b, 0x20), high = _mm256_permute2f128_ps(a, b, 0x31);
        part[i][0] = _mm256_shuffle_ps(low, high, 0x88);
        part[i][1] = _mm256_shuffle_ps(low, high, 0xdd);
    }
    first = {part[0][0], part[1][0]};
    second = {part[0][1], part[1][1]};
}
GENFAST_INLINE void vstore_pairs(float* p, Vec first, Vec second) {
    __m256 part[2][2] = {{first.lo, second.lo}, {first.hi, second.hi}};
    for (int i = 0; i < 2; ++i) {
        __m256 low = _mm256_unpacklo_ps(part[i][0], part[i][1]);
        __m256 high = _mm256_unpackhi_ps(part[i][0], part[i][1]);
        _mm256_storeu_ps(p + 16 * i, _mm256_permute2f128_ps(low, high, 0x20));
        _mm256_storeu_ps(p + 16 * i + 8, _mm256_permute2f128_ps(low, high, 0x31));
    }
}

GENFAST_INLINE float vsum(Vec a) {
    __m256 s8 = _mm256_add_ps(a.lo, a.hi);
    __m128 s4 = _mm_add_ps(_mm256_castps256_ps128(s8), _mm256_extractf128_ps(s8, 1));
    __m128 s2 = _mm_add_ps(s4, _mm_movehl_ps(s4, s4));
    return _mm_cvtss_f32(_mm_add_ss(s2, _mm_movehdup_ps(s2)));
}
GENFAST_INLINE float vmaxall(Vec a) {
    __m256 s8 = _mm256_max_ps(a.lo, a.hi);
    __m128 s4 = _mm_max_ps(_mm256_castps256_ps128(s8), _mm256_extractf128_ps(s8, 1));
    __m128 s2 = _mm_max_ps(s4, _mm_movehl_ps(s4, s4));
    return _mm_cvtss_f32(_mm_max_ss(s2, _mm_movehdup_ps(s2)));
}

// Lane i: the largest lane of rows[i]. Two rows share a register after each step.
GENFAST_INLINE __m256 maxall8(const Vec* rows) {
    __m256 a[4], b[2];
    for (int i = 0; i < 4; ++i) {
        __m256 x = _mm256_max_ps(rows[2 * i].lo, rows[2 * i].hi);
        __m256 y = _mm256_max_ps(rows[2 * i + 1].lo, rows[2 * i + 1].hi);
        a[i] = _mm256_max_ps(_mm256_unpacklo_ps(x, y), _mm256_unpackhi_ps(x, y));
    }
    for (int i = 0; i < 2; ++i)
        b[i] = _mm256_max_ps(_mm256_shuffle_ps(a[2 * i], a[2 * i + 1], 0x44),
                             _mm256_shuffle_ps(a[2 * i], a[2 * i + 1], 0xee));
    return _mm256_max_ps(_mm256_permute2f128_ps(b[0], b[1], 0x20),
                         _mm256_permute2f128_ps(b[0], b[1], 0x31));
}
GENFAST_INLINE Vec vmaxall16(const Vec* rows) {
    return {maxall8(rows), maxall8(rows + 8)};
}

GENFAST_INLINE VecI izero() {
    return {_mm256_setzero_si256(), _mm256_setzero_si256()};
}
GENFAST_INLINE VecI iset(int32_t x) {
    return {_mm256_set1_epi32(x), _mm256_set1_epi32(x)};
}
GENFAST_INLINE VecI iload(const void* p) {
    const __m256i* q = (const __m256i*)p;
    return {_mm256_loadu_si256(q), _mm256_loadu_si256(q + 1)};
}
GENFAST_INLINE void istore(void* p, VecI a) {
    _mm256_storeu_si256((__m256i*)p, a.lo);
    _mm256_storeu_si256((__m256i*)p + 1, a.hi);
}
GENFAST_INLINE VecI ixor(VecI a, VecI b) {
    return {_mm256_xor_si256(a.lo, b.lo), _mm256_xor_si256(a.hi, b.hi)};
}
GENFAST_INLINE VecI iadd(VecI a, VecI b) {
    return {_mm256_add_epi32(a.lo, b.lo), _mm256_add_epi32(a.hi, b.hi)};
}
GENFAST_INLINE VecI iand(VecI a, VecI b) {
    return {_mm256_and_si256(a.lo, b.lo), _mm256_and_si256(a.hi, b.hi)};
}
// For eight mask bits the lanes to pack, four bits each: compress has no instruction here.
struct CompressTable {
    uint32_t lanes[256];
    constexpr CompressTable() : lanes() {
        for (uint32_t mask = 0; mask < 256; ++mask)
            for (uint32_t lane = 0, count = 0; lane < 8; ++lane)
                if (mask >> lane & 1) lanes[mask] |= lane << 4 * count++;
    }
};
static constexpr CompressTable kCompress;
GENFAST_INLINE __m256i compress_lanes(uint32_t mask) {
    __m256i packed = _mm256_set1_epi32(int(kCompress.lanes[mask]));
    return _mm256_srlv_epi32(packed, _mm256_setr_epi32(0, 4, 8, 12, 16, 20, 24, 28));
}
// The lanes that mask names, packed to the front of p; up to 16 lanes of p may be written.
GENFAST_INLINE void vcompress(float* p, Vec a, uint32_t mask) {
    uint32_t low = mask & 255, high = mask >> 8;
    _mm256_storeu_ps(p, _mm256_permutevar8x32_ps(a.lo, compress_lanes(low)));
    _mm256_storeu_ps(p + __builtin_popcount(low),
                     _mm256_permutevar8x32_ps(a.hi, compress_lanes(high)));
}
GENFAST_INLINE void icompress(int32_t* p, VecI a, uint32_t mask) {
    uint32_t low = mask & 255, high = mask >> 8;
    _mm256_storeu_si256((__m256i*)p, _mm256_permutevar8x32_epi32(a.lo, compress_lanes(low)));
    _mm256_storeu_si256((__m256i*)(p + __builtin_popcount(low)),
                        _mm256_permutevar8x32_epi32(a.hi, compress_lanes(high)));
}
GENFAST_INLINE VecI iota(int32_t first) {
    __m256i steps = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    return {_mm256_add_epi32(steps, _mm256_set1_epi32(first)),
            _mm256_add_epi32(steps, _mm256_set1_epi32(first + 8))};
}
GENFAST_INLINE Vec vfromi(VecI a) {
    return {_mm256_cvtepi32_ps(a.lo), _mm256_cvtepi32_ps(a.hi)};
}
GENFAST_INLINE VecI vtoi(Vec a) {  // to nearest, ties to even
    return {_mm256_cvtps_epi32(a.lo), _mm256_cvtps_epi32(a.hi)};
}
// x * 2^n for integral n in [-126, 127] and normal results
GENFAST_INLINE Vec vscale2(Vec x, Vec n) {
    VecI shift = vtoi(n);
    VecI bits = iadd({_mm256_castps_si256(x.lo), _mm256_castps_si256(x.hi)},
                     {_mm256_slli_epi32(shift.lo, 23), _mm256_slli_epi32(shift.hi, 23)});
    return {_mm256_castsi256_ps(bits.lo), _mm256_castsi256_ps(bits.hi)};
}
GENFAST_INLINE __m256 bf16x8(const uint16_t* p) {
    __m256i wide = _mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i*)p));
    return _mm256_castsi256_ps(_mm256_slli_epi32(wide, 16));
}
GENFAST_INLINE Vec vload_bf16(const uint16_t* p) {
    return {bf16x8(p), bf16x8(p + 8)};
}
// Sixteen pairs (a0 b0 a1 b1 ...): the a's and the b's
GENFAST_INLINE void vload_bf16_pairs(const uint16_t* p, Vec& first, Vec& second) {
    VecI both = iload(p);
    __m256i high = _mm256_set1_epi32(int(0xffff0000u));
    first.lo = _mm256_castsi256_ps(_mm256_slli_epi32(both.lo, 16));
    first.hi = _mm256_castsi256_ps(_mm256_slli_epi32(both.hi, 16));
    second.lo = _mm256_castsi256_ps(_mm256_and_si256(both.lo, high));
    second.hi = _mm256_castsi256_ps(_mm256_and_si256(both.hi, high));
}
GENFAST_INLINE Vec vload_f16(const uint16_t* p) {
    return {_mm256_cvtph_ps(_mm_loadu_si128((const __m128i*)p)),
            _mm256_cvtph_ps(_mm_loadu_si128((const __m128i*)(p + 8)))};
}
GENFAST_INLINE __m256 round_bf16x8(__m256 a) {
    __m256i bits = _mm256_castps_si256(a);
    __m256i odd = _mm256_and_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(1));
    __m256i up = _mm256_add_epi32(bits, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff)));
    return _mm256_castsi256_ps(_mm256_and_si256(up, _mm256_set1_epi32(int(0xffff0000u))));
}
// Rounded to bfloat16's nearest, ties to even; finite values, infinities and the usual NaN
GENFAST_INLINE Vec vround_bf16(Vec a) {
    return {round_bf16x8(a.lo), round_bf16x8(a.hi)};
}
// Of values that are bfloat16 numbers already
GENFAST_INLINE void vstore_bf16(uint16_t* p, Vec a) {
    __m256i packed = _mm256_packus_epi32(_mm256_srli_epi32(_mm256_castps_si256(a.lo), 16),
                                         _mm256_srli_epi32(_mm256_castps_si256(a.hi), 16));
    _mm256_storeu_si256((__m256i*)p, _mm256_permute4x64_epi64(packed, 0xd8));
}
// Sixteen int32 in [-128, 127] to bytes
GENFAST_INLINE void istore_i8(int8_t* p, VecI a) {
    __m256i words = _mm256_permute4x64_epi64(_mm256_packs_epi32(a.lo, a.hi), 0xd8);
    __m128i bytes =
        _mm_packs_epi16(_mm256_castsi256_si128(words), _mm256_extracti128_si256(words, 1));
    _mm_storeu_si128((__m128i*)p, bytes);
}

// The bits of sixteen floats
GENFAST_INLINE Vec vbits(VecI a) {
    return {_mm256_castsi256_ps(a.lo), _mm256_castsi256_ps(a.hi)};
}
GENFAST_INLINE VecI ibits(Vec a) {
    return {_mm256_castps_si256(a.lo), _mm256_castps_si256(a.hi)};
}
template <int bits>
GENFAST_INLINE VecI ishl(VecI a) {
    return {_mm256_slli_epi32(a.lo, bits), _mm256_slli_epi32(a.hi, bits)};
}
// To the right: zeros come in, or the sign.
template <int bits>
GENFAST_INLINE VecI ishr(VecI a) {
    return {_mm256_srli_epi32(a.lo, bits), _mm256_srli_epi32(a.hi, bits)};
}
template <int bits>
GENFAST_INLINE VecI isar(VecI a) {
    return {_mm256_srai_epi32(a.lo, bits), _mm256_srai_epi32(a.hi, bits)};
}
// Rounded to float16's nearest, ties to even
GENFAST_INLINE void vstore_f16(uint16_t* p, Vec a) {
    _mm_storeu_si128((__m128i*)p, _mm256_cvtps_ph(a.lo, _MM_FROUND_TO_NEAREST_INT));
    _mm_storeu_si128((__m128i*)(p + 8), _mm256_cvtps_ph(a.hi, _MM_FROUND_TO_NEAREST_INT));
}
GENFAST_INLINE void itranspose8(__m256i* t) {
    __m256i a[8], b[8];
    for (int i = 0; i < 8; i += 2) {
        a[i] = _mm256_unpacklo_epi32(t[i], t[i + 1]);
        a[i + 1] = _mm256_unpackhi_epi32(t[i], t[i + 1]);
    }
    for (int i = 0; i < 8; i += 4)  // b[i + j]: dword column j of each 128-bit lane, four rows
        for (int j = 0; j < 2; ++j) {
            b[i + 2 * j] = _mm256_unpacklo_epi64(a[i + j], a[i + 2 + j]);
            b[i + 2 * j + 1] = _mm256_unpackhi_epi64(a[i + j], a[i + 2 + j]);
        }
    for (int j = 0; j < 4; ++j) {
        t[j] = _mm256_permute2x128_si256(b[j], b[j + 4], 0x20);
        t[j + 4] = _mm256_permute2x128_si256(b[j], b[j + 4], 0x31);
    }
}
// Sixteen vectors of sixteen dwords: lane j of vector i becomes lane i of vector j
GENFAST_INLINE void itranspose16(VecI* t) {
    __m256i quarters[4][8];
    for (int i = 0; i < 8; ++i) {
        quarters[0][i] = t[i].lo, quarters[1][i] = t[i].hi;
        quarters[2][i] = t[i + 8].lo, quarters[3][i] = t[i + 8].hi;
    }
    for (auto& quarter : quarters) itranspose8(quarter);
    for (int i = 0; i < 8; ++i) {
        t[i] = {quarters[0][i], quarters[2][i]};
        t[i + 8] = {quarters[1][i], quarters[3][i]};
    }
}

}  // namespace genfast::GENFAST_ISA

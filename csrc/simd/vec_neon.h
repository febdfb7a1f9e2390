// Sixteen float lanes in four registers of 64-bit ARM. See vec.h for the vocabulary.
#pragma once

#include <arm_neon.h>

#include <cstdint>

#define GENFAST_INLINE static inline __attribute__((always_inline))

namespace genfast::GENFAST_ISA {

struct Vec {
    float32x4_t q[4];
};
struct VecI {
    uint32x4_t q[4];  // unsigned: sums wrap around
};

// A function of Vec from one of a quarter.
#define GENFAST_QUARTERS_1(R, name, A, f)                      \
    GENFAST_INLINE R name(A a) {                               \
        return {{f(a.q[0]), f(a.q[1]), f(a.q[2]), f(a.q[3])}}; \
    }
#define GENFAST_QUARTERS_2(R, name, A, B, f)                                                   \
    GENFAST_INLINE R name(A a, B b) {                                                          \
        return {{f(a.q[0], b.q[0]), f(a.q[1], b.q[1]), f(a.q[2], b.q[2]), f(a.q[3], b.q[3])}}; \
    }

GENFAST_INLINE float32x4_t as_floats(uint32x4_t a) {
    return vreinterpretq_f32_u32(a);
}
GENFAST_INLINE uint32x4_t as_bits(float32x4_t a) {
    return vreinterpretq_u32_f32(a);
}
// As x86 has it: the second argument when either is NaN, or when they are equal.
GENFAST_INLINE float32x4_t max_or_second(float32x4_t a, float32x4_t b) {
    return vbslq_f32(vcgtq_f32(a, b), a, b);
}
GENFAST_INLINE float32x4_t min_or_second(float32x4_t a, float32x4_t b) {
    return vbslq_f32(vcltq_f32(a, b), a, b);
}
GENFAST_INLINE float32x4_t from_int(uint32x4_t a) {
    return vcvtq_f32_s32(vreinterpretq_s32_u32(a));
}
GENFAST_INLINE uint32x4_t to_int(float32x4_t a) {
    return vreinterpretq_u32_s32(vcvtnq_s32_f32(a));
}
GENFAST_INLINE float32x4_t scale2(float32x4_t x, float32x4_t n) {
    return as_floats(vaddq_u32(as_bits(x), vshlq_n_u32(to_int(n), 23)));
}
GENFAST_INLINE float32x4_t high_half(uint32x4_t pairs) {
    return as_floats(vandq_u32(pairs, vdupq_n_u32(0xffff0000u)));
}
GENFAST_INLINE float32x4_t low_half(uint32x4_t pairs) {
    return as_floats(vshlq_n_u32(pairs, 16));
}
GENFAST_INLINE float32x4_t round_bf16(float32x4_t a) {
    uint32x4_t odd = vandq_u32(vshrq_n_u32(as_bits(a), 16), vdupq_n_u32(1));
    return high_half(vaddq_u32(as_bits(a), vaddq_u32(odd, vdupq_n_u32(0x7fff))));
}
GENFAST_INLINE float32x4_t widen_f16(uint16x4_t a) {
    return vcvt_f32_f16(vreinterpret_f16_u16(a));
}
GENFAST_INLINE uint16x4_t narrow_f16(float32x4_t a) {
    return vreinterpret_u16_f16(vcvt_f16_f32(a));
}
GENFAST_INLINE float32x4_t widen_bf16(uint16x4_t a) {
    return as_floats(vshll_n_u16(a, 16));
}

GENFAST_INLINE Vec vset(float x) {
    float32x4_t q = vdupq_n_f32(x);
    return {{q, q, q, q}};
}
GENFAST_INLINE Vec vzero() {
    return vset(0);
}
GENFAST_INLINE Vec vload(const float* p) {
    return {{vld1q_f32(p), vld1q_f32(p + 4), vld1q_f32(p + 8), vld1q_f32(p + 12)}};
}
GENFAST_INLINE void vstore(float* p, Vec a) {
    for (int i = 0; i < 4; ++i) vst1q_f32(p + 4 * i, a.q[i]);
}
// The first n of four lanes, zeros behind them; nothing else is read (there are no masked loads).
GENFAST_INLINE float32x4_t load_lanes(const float* p, int n) {
    float32x4_t zero = vdupq_n_f32(0);
    if (n >= 4) return vld1q_f32(p);
    if (n == 3) return vld1q_lane_f32(p + 2, vcombine_f32(vld1_f32(p), vget_low_f32(zero)), 2);
    if (n == 2) return vcombine_f32(vld1_f32(p), vget_low_f32(zero));
    return n == 1 ? vld1q_lane_f32(p, zero, 0) : zero;
}
GENFAST_INLINE void store_lanes(float* p, float32x4_t a, int n) {
    if (n >= 4) return vst1q_f32(p, a);
    if (n >= 2) vst1_f32(p, vget_low_f32(a));
    if (n == 3) vst1q_lane_f32(p + 2, a, 2);
    if (n == 1) vst1q_lane_f32(p, a, 0);
}
GENFAST_INLINE Vec vload_n(const float* p, int n) {
    if (n >= 16) return vload(p);
    return {{load_lanes(p, n), load_lanes(p + 4, n - 4), load_lanes(p + 8, n - 8),
             load_lanes(p + 12, n - 12)}};
}
GENFAST_INLINE void vstore_n(float* p, Vec a, int n) {
    if (n >= 16) return vstore(p, a);
    for (int i = 0; i < 4; ++i) store_lanes(p + 4 * i, a.q[i], n - 4 * i);
}

GENFAST_QUARTERS_2(Vec, vadd, Vec, Vec, vaddq_f32)
GENFAST_QUARTERS_2(Vec, vsub, Vec, Vec, vsubq_f32)
GENFAST_QUARTERS_2(Vec, vmul, Vec, Vec, vmulq_f32)
GENFAST_QUARTERS_2(Vec, vdiv, Vec, Vec, vdivq_f32)
GENFAST_QUARTERS_2(Vec, vmax, Vec, Vec, max_or_second)
GENFAST_QUARTERS_2(Vec, vmin, Vec, Vec, min_or_second)
GENFAST_QUARTERS_1(Vec, vabs, Vec, vabsq_f32)
GENFAST_QUARTERS_1(Vec, vround, Vec, vrndnq_f32)
GENFAST_INLINE Vec vfma(Vec a, Vec b, Vec c) {
    return {{vfmaq_f32(c.q[0], a.q[0], b.q[0]), vfmaq_f32(c.q[1], a.q[1], b.q[1]),
             vfmaq_f32(c.q[2], a.q[2], b.q[2]), vfmaq_f32(c.q[3], a.q[3], b.q[3])}};
}

// All bits of a lane where the condition holds (not for NaN).
GENFAST_QUARTERS_2(VecI, lanes_lt, Vec, Vec, vcltq_f32)
GENFAST_QUARTERS_2(VecI, lanes_ge, Vec, Vec, vcgeq_f32)
GENFAST_QUARTERS_2(VecI, lanes_gt, Vec, Vec, vcgtq_f32)
GENFAST_INLINE Vec choose(VecI lanes, Vec x, Vec y) {
    return {{vbslq_f32(lanes.q[0], x.q[0], y.q[0]), vbslq_f32(lanes.q[1], x.q[1], y.q[1]),
             vbslq_f32(lanes.q[2], x.q[2], y.q[2]), vbslq_f32(lanes.q[3], x.q[3], y.q[3])}};
}
// The lowest byte of every lane.
GENFAST_INLINE uint8x16_t narrow_bytes(VecI a) {
    uint16x8_t low = vuzp1q_u16(vreinterpretq_u16_u32(a.q[0]), vreinterpretq_u16_u32(a.q[1]));
    uint16x8_t high = vuzp1q_u16(vreinterpretq_u16_u32(a.q[2]), vreinterpretq_u16_u32(a.q[3]));
    return vuzp1q_u8(vreinterpretq_u8_u16(low), vreinterpretq_u8_u16(high));
}
GENFAST_INLINE uint32_t lane_mask(VecI lanes) {
    const uint8x16_t bit = {1, 2, 4, 8, 16, 32, 64, 128, 1, 2, 4, 8, 16, 32, 64, 128};
    uint8x16_t bits = vandq_u8(narrow_bytes(lanes), bit);
    for (int i = 0; i < 3; ++i) bits = vpaddq_u8(bits, bits);
    return vgetq_lane_u16(vreinterpretq_u16_u8(bits), 0);
}
// Lanes i and i + distance, where i lacks that bit, become their sum and their difference.
template <int distance>
GENFAST_INLINE Vec vbutterfly(Vec a) {
    Vec out;
    if constexpr (distance < 4) {
        const float32x4_t sign =
            distance == 1 ? float32x4_t{1, -1, 1, -1} : float32x4_t{1, 1, -1, -1};
        for (int i = 0; i < 4; ++i) {
            float32x4_t q = a.q[i];
            float32x4_t other = distance == 1 ? vrev64q_f32(q) : vextq_f32(q, q, 2);
            out.q[i] = vfmaq_f32(other, q, sign);  // rounds once, as an addition does
        }
    } else {
        for (int i = 0; i < 4; ++i) {
            constexpr int step = distance / 4;
            out.q[i] = i & step ? vsubq_f32(a.q[i - step], a.q[i])
                                : vaddq_f32(a.q[i], a.q[(i + step) & 3]);
        }
    }
    return out;
}
// a < b ? x : y, lane by lane
GENFAST_INLINE Vec vselect_lt(Vec a, Vec b, Vec x, Vec y) {
    return choose(lanes_lt(a, b), x, y);
}
// a bit a lane: a >= b, a > b (false for NaN)
GENFAST_INLINE uint32_t vmask_ge(Vec a, Vec b) {
    return lane_mask(lanes_ge(a, b));
}
GENFAST_INLINE uint32_t vmask_gt(Vec a, Vec b) {
    return lane_mask(lanes_gt(a, b));
}
// acc + (a >= b ? a : 0), lane by lane
GENFAST_INLINE Vec vadd_ge(Vec acc, Vec a, Vec b) {
    return vadd(acc, choose(lanes_ge(a, b), a, vzero()));
}
GENFAST_INLINE VecI iota(int32_t first) {
    const uint32x4_t steps = {0, 1, 2, 3};
    uint32x4_t start = vaddq_u32(vdupq_n_u32(uint32_t(first)), steps);
    return {{start, vaddq_u32(start, vdupq_n_u32(4)), vaddq_u32(start, vdupq_n_u32(8)),
             vaddq_u32(start, vdupq_n_u32(12))}};
}
// keeps the first n lanes, the others become `fill`
GENFAST_INLINE Vec vkeep_n(Vec a, int n, Vec fill) {
    VecI lanes = iota(0);
    for (uint32x4_t& q : lanes.q) q = vcgtq_s32(vdupq_n_s32(n), vreinterpretq_s32_u32(q));
    return choose(lanes, a, fill);
}

// Sixteen pairs (a0 b0 a1 b1 ...): the a's and the b's
GENFAST_INLINE void vload_pairs(const float* p, Vec& first, Vec& second) {
    for (int i = 0; i < 4; ++i) {
        float32x4x2_t pairs = vld2q_f32(p + 8 * i);
        first.q[i] = pairs.val[0];
        second.q[i] = pairs.val[1];
    }
}
GENFAST_INLINE void vstore_pairs(float* p, Vec first, Vec second) {
    for (int i = 0; i < 4; ++i) vst2q_f32(p + 8 * i, {{first.q[i], second.q[i]}});
}

// In the order of the other instruction sets: halves, quarters, then the lanes of one.
GENFAST_INLINE float vsum(Vec a) {
    float32x4_t s4 = vaddq_f32(vaddq_f32(a.q[0], a.q[2]), vaddq_f32(a.q[1], a.q[3]));
    float32x2_t s2 = vadd_f32(vget_low_f32(s4), vget_high_f32(s4));
    return vget_lane_f32(s2, 0) + vget_lane_f32(s2, 1);
}
GENFAST_INLINE float vmaxall(Vec a) {
    float32x4_t s4 = max_or_second(max_or_second(a.q[0], a.q[2]), max_or_second(a.q[1], a.q[3]));
    s4 = max_or_second(s4, vextq_f32(s4, s4, 2));
    return vgetq_lane_f32(max_or_second(s4, vextq_f32(s4, s4, 1)), 0);
}
// Lane i: the largest lane of rows[i], which hold no NaN.
GENFAST_INLINE float32x4_t maxall4(const Vec* rows) {
    float32x4_t m[4];
    for (int i = 0; i < 4; ++i)
        m[i] =
            vmaxq_f32(vmaxq_f32(rows[i].q[0], rows[i].q[1]), vmaxq_f32(rows[i].q[2], rows[i].q[3]));
    return vpmaxq_f32(vpmaxq_f32(m[0], m[1]), vpmaxq_f32(m[2], m[3]));
}
GENFAST_INLINE Vec vmaxall16(const Vec* rows) {
    return {{maxall4(rows), maxall4(rows + 4), maxall4(rows + 8), maxall4(rows + 12)}};
}

GENFAST_INLINE VecI iset(int32_t x) {
    uint32x4_t q = vdupq_n_u32(uint32_t(x));
    return {{q, q, q, q}};
}
GENFAST_INLINE VecI izero() {
    return iset(0);
}
GENFAST_INLINE uint32x4_t load_quarter(const void* p, int i) {
    return vreinterpretq_u32_u8(vld1q_u8((const uint8_t*)p + 16 * i));  // anywhere
}
GENFAST_INLINE VecI iload(const void* p) {
    return {{load_quarter(p, 0), load_quarter(p, 1), load_quarter(p, 2), load_quarter(p, 3)}};
}
GENFAST_INLINE void istore(void* p, VecI a) {
    for (int i = 0; i < 4; ++i) vst1q_u8((uint8_t*)p + 16 * i, vreinterpretq_u8_u32(a.q[i]));
}
GENFAST_QUARTERS_2(VecI, ixor, VecI, VecI, veorq_u32)
GENFAST_QUARTERS_2(VecI, iadd, VecI, VecI, vaddq_u32)
GENFAST_QUARTERS_2(VecI, iand, VecI, VecI, vandq_u32)

// For four mask bits the bytes to pack: compress has no instruction here.
struct CompressTable {
    uint8_t bytes[16][16];
    constexpr CompressTable() : bytes() {
        for (int mask = 0; mask < 16; ++mask)
            for (int lane = 0, count = 0; lane < 4; ++lane)
                if (mask >> lane & 1) {
                    for (int i = 0; i < 4; ++i) bytes[mask][4 * count + i] = uint8_t(4 * lane + i);
                    ++count;
                }
    }
};
static constexpr CompressTable kCompress;
// The lanes that mask names, packed to the front of p; up to 16 lanes of p may be written.
GENFAST_INLINE void icompress(int32_t* p, VecI a, uint32_t mask) {
    for (int i = 0; i < 4; ++i, mask >>= 4) {
        uint8x16_t bytes = vld1q_u8(kCompress.bytes[mask & 15]);
        uint8x16_t packed = vqtbl1q_u8(vreinterpretq_u8_u32(a.q[i]), bytes);
        vst1q_s32(p, vreinterpretq_s32_u8(packed));
        p += __builtin_popcount(mask & 15);
    }
}
GENFAST_QUARTERS_1(VecI, ibits, Vec, as_bits)
GENFAST_INLINE void vcompress(float* p, Vec a, uint32_t mask) {
    icompress((int32_t*)p, ibits(a), mask);
}

GENFAST_QUARTERS_1(Vec, vfromi, VecI, from_int)
GENFAST_QUARTERS_1(VecI, vtoi, Vec, to_int)  // to nearest, ties to even
// x * 2^n for integral n in [-126, 127] and normal results
GENFAST_QUARTERS_2(Vec, vscale2, Vec, Vec, scale2)

GENFAST_INLINE Vec vload_bf16(const uint16_t* p) {
    return {{widen_bf16(vld1_u16(p)), widen_bf16(vld1_u16(p + 4)), widen_bf16(vld1_u16(p + 8)),
             widen_bf16(vld1_u16(p + 12))}};
}
GENFAST_QUARTERS_1(Vec, low_halves, VecI, low_half)
GENFAST_QUARTERS_1(Vec, high_halves, VecI, high_half)
// Sixteen pairs (a0 b0 a1 b1 ...): the a's and the b's
GENFAST_INLINE void vload_bf16_pairs(const uint16_t* p, Vec& first, Vec& second) {
    VecI both = iload(p);
    first = low_halves(both);
    second = high_halves(both);
}
GENFAST_INLINE Vec vload_f16(const uint16_t* p) {
    return {{widen_f16(vld1_u16(p)), widen_f16(vld1_u16(p + 4)), widen_f16(vld1_u16(p + 8)),
             widen_f16(vld1_u16(p + 12))}};
}
// Rounded to bfloat16's nearest, ties to even; finite values, infinities and the usual NaN
GENFAST_QUARTERS_1(Vec, vround_bf16, Vec, round_bf16)
// Of values that are bfloat16 numbers already
GENFAST_INLINE void vstore_bf16(uint16_t* p, Vec a) {
    for (int i = 0; i < 4; ++i) vst1_u16(p + 4 * i, vshrn_n_u32(as_bits(a.q[i]), 16));
}
// Sixteen int32 in [-128, 127] to bytes
GENFAST_INLINE void istore_i8(int8_t* p, VecI a) {
    vst1q_u8((uint8_t*)p, narrow_bytes(a));
}
// The bits of sixteen floats
GENFAST_QUARTERS_1(Vec, vbits, VecI, as_floats)
template <int bits>
GENFAST_INLINE VecI ishl(VecI a) {
    return {{vshlq_n_u32(a.q[0], bits), vshlq_n_u32(a.q[1], bits), vshlq_n_u32(a.q[2], bits),
             vshlq_n_u32(a.q[3], bits)}};
}
// To the right: zeros come in, or the sign.
template <int bits>
GENFAST_INLINE VecI ishr(VecI a) {
    for (uint32x4_t& q : a.q) q = vshrq_n_u32(q, bits);
    return a;
}
template <int bits>
GENFAST_INLINE VecI isar(VecI a) {
    for (uint32x4_t& q : a.q)
        q = vreinterpretq_u32_s32(vshrq_n_s32(vreinterpretq_s32_u32(q), bits));
    return a;
}
// Rounded to float16's nearest, ties to even
GENFAST_INLINE void vstore_f16(uint16_t* p, Vec a) {
    for (int i = 0; i < 4; ++i) vst1_u16(p + 4 * i, narrow_f16(a.q[i]));
}
// Column j of four rows of four becomes row j.
GENFAST_INLINE void transpose4(uint32x4_t& a, uint32x4_t& b, uint32x4_t& c, uint32x4_t& d) {
    uint64x2_t ab[2] = {vreinterpretq_u64_u32(vtrn1q_u32(a, b)),
                        vreinterpretq_u64_u32(vtrn2q_u32(a, b))};
    uint64x2_t cd[2] = {vreinterpretq_u64_u32(vtrn1q_u32(c, d)),
                        vreinterpretq_u64_u32(vtrn2q_u32(c, d))};
    a = vreinterpretq_u32_u64(vtrn1q_u64(ab[0], cd[0]));
    b = vreinterpretq_u32_u64(vtrn1q_u64(ab[1], cd[1]));
    c = vreinterpretq_u32_u64(vtrn2q_u64(ab[0], cd[0]));
    d = vreinterpretq_u32_u64(vtrn2q_u64(ab[1], cd[1]));
}
// Sixteen vectors of sixteen dwords: lane j of vector i becomes lane i of vector j
GENFAST_INLINE void itranspose16(VecI* t) {
    for (int i = 0; i < 4; ++i)
        for (int j = 0; j < 4; ++j) {
            VecI* rows = t + 4 * i;
            transpose4(rows[0].q[j], rows[1].q[j], rows[2].q[j], rows[3].q[j]);
        }
    for (int i = 0; i < 4; ++i)  // and the blocks of four by four among themselves
        for (int j = 0; j < i; ++j)
            for (int row = 0; row < 4; ++row) {
                uint32x4_t swap = t[4 * i + row].q[j];
                t[4 * i + row].q[j] = t[4 * j + row].q[i];
                t[4 * j + row].q[i] = swap;
            }
}
#undef GENFAST_QUARTERS_1
#undef GENFAST_QUARTERS_2

}  // namespace genfast::GENFAST_ISA

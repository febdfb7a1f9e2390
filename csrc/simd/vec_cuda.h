// A thread's own float as a Vec, after cuda/launch.h. See vec.h for the vocabulary, of which this
// is what elementary functions (math.h) are made of.
#pragma once

#include <cstdint>

#include "core/dtype.h"

#define GENFAST_INLINE __device__ static inline

namespace genfast::GENFAST_ISA {

using Vec = float;

GENFAST_INLINE Vec vzero() {
    return 0;
}
GENFAST_INLINE Vec vset(float x) {
    return x;
}
GENFAST_INLINE Vec vadd(Vec a, Vec b) {
    return a + b;
}
GENFAST_INLINE Vec vsub(Vec a, Vec b) {
    return a - b;
}
GENFAST_INLINE Vec vmul(Vec a, Vec b) {
    return a * b;
}
GENFAST_INLINE Vec vdiv(Vec a, Vec b) {
    return a / b;
}
// The second where either is NaN, as the CPU's instructions have it.
GENFAST_INLINE Vec vmax(Vec a, Vec b) {
    return a > b ? a : b;
}
GENFAST_INLINE Vec vmin(Vec a, Vec b) {
    return a < b ? a : b;
}
GENFAST_INLINE Vec vfma(Vec a, Vec b, Vec c) {
    return fmaf(a, b, c);
}
GENFAST_INLINE Vec vabs(Vec a) {
    return fabsf(a);
}
GENFAST_INLINE Vec vround(Vec a) {
    return rintf(a);
}
GENFAST_INLINE Vec vselect_lt(Vec a, Vec b, Vec x, Vec y) {
    return a < b ? x : y;
}
// x * 2^n for integral n in [-126, 127] and normal results
GENFAST_INLINE Vec vscale2(Vec x, Vec n) {
    return bits_to_f32(f32_to_bits(x) + (uint32_t(int32_t(n)) << 23));
}

}  // namespace genfast::GENFAST_ISA

// core/e4m3.h by vectors: sixteen dwords of four numbers each, as panels and caches hold them. NaN
// is not known here: weights have none, and in a cache it is a token's scale.
#pragma once

#include "core/e4m3.h"
#include "simd/vec.h"

namespace genfast::GENFAST_ISA {

// Number i of each dword. With its byte at the top, repeating the sign while shifting brings
// exponent and mantissa under a float's.
template <int i>
GENFAST_INLINE Vec vload_e4m3(const void* dwords) {
    VecI byte = iload(dwords);
    if constexpr (i < 3) byte = ishl<24 - 8 * i>(byte);
    return vmul(vbits(iand(isar<4>(byte), iset(int32_t(0x87f00000u)))), vset(e4m3::kUp));
}

// Numbers 2 i and 2 i + 1 of each dword, as a pair of bfloat16.
template <int i>
GENFAST_INLINE VecI iload_e4m3_pairs(const void* dwords) {
    const VecI low = ibits(vload_e4m3<2 * i>(dwords)), high = ibits(vload_e4m3<2 * i + 1>(dwords));
    return iadd(high, ishr<16>(low));
}

// Rounded to nearest, ties to even, as e4m3::from_f32 does; |x| <= 448. In int32, for istore_i8.
GENFAST_INLINE VecI ie4m3(Vec x) {
    const VecI bits = ibits(x);
    const Vec power = vmax(vbits(iand(bits, iset(0x7f800000))), vset(0x1p-6f));
    const Vec unit = vmul(power, vset(0x1p20f));
    const Vec rounded = vsub(vadd(vabs(x), unit), unit);
    const VecI magnitude = ishr<20>(ibits(vmul(rounded, vset(e4m3::kDown))));
    return iadd(magnitude, iand(isar<31>(bits), iset(-128)));
}

}  // namespace genfast::GENFAST_ISA

#include "simd/vec.h"

namespace genfast::avx512 {

double dot_bf16_chains(int64_t rounds);

// Twelve chains of vdpbf16ps, as many as simd.cc has of the others.
double dot_bf16_chains(int64_t rounds) {
    Vec acc[12], one = {_mm512_castsi512_ps(_mm512_set1_epi32(0x3f803f80))};
    for (Vec& a : acc) a = vzero();
    for (int64_t i = 0; i < rounds; ++i)
#pragma GCC unroll 12
        for (int j = 0; j < 12; ++j) vdot_bf16(acc[j], one, one);  // unrolled, or they spill
    Vec sum = vzero();
    for (Vec a : acc) sum = vadd(sum, a);
    return double(vsum(sum));
}

}  // namespace genfast::avx512

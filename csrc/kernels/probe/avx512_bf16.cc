#include "simd/vec.h"

namespace genfast::avx512 {

double dot_bf16_chains(int64_t rounds);

// Twelve chains of vdpbf16ps, as many as simd.cc has of the others.
double dot_bf16_chains(int64_t rounds) {
    __m512 acc[12];
    for (__m512& a : acc) a = _mm512_setzero_ps();
    __m512bh one = (__m512bh)_mm512_set1_epi32(0x3f803f80);
    for (int64_t i = 0; i < rounds; ++i)
        for (__m512& a : acc) a = _mm512_dpbf16_ps(a, one, one);
    Vec sum = vzero();
    for (__m512 a : acc) sum = vadd(sum, {a});
    return double(vsum(sum));
}

}  // namespace genfast::avx512

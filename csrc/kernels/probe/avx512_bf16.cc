#include "simd/vec.h"

namespace genfast::avx512 {

double dot_bf16_chains(int64_t rounds);

// Twelve chains of vdpbf16ps, as many as simd.cc has of the others. No loop walks the array:
// the compiler would keep it in memory.
template <int... chain>
static double run_chains(int64_t rounds) {
    Vec acc[] = {((void)chain, vzero())...};
    Vec one = {_mm512_castsi512_ps(_mm512_set1_epi32(0x3f803f80))};
    for (int64_t i = 0; i < rounds; ++i) (vdot_bf16(acc[chain], one, one), ...);
    Vec sum = vzero();
    ((sum = vadd(sum, acc[chain])), ...);
    return double(vsum(sum));
}

double dot_bf16_chains(int64_t rounds) {
    return run_chains<0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11>(rounds);
}

}  // namespace genfast::avx512

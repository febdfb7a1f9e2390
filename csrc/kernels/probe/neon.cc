#include "simd/vec.h"

namespace genfast::neon {

double fma_chains(int64_t rounds);

// By name: the compiler would see that all chains hold the same.
GENFAST_INLINE void multiply_add(float32x4_t& acc, float32x4_t x) {
    asm("fmla %0.4s, %1.4s, %1.4s" : "+w"(acc) : "w"(x));
}

// 24 chains, as many registers as simd.cc's others take. No loop walks the array: the compiler
// would keep it in memory.
template <int... chain>
static double run_chains(int64_t rounds) {
    float32x4_t acc[] = {((void)chain, vdupq_n_f32(0))...}, half = vdupq_n_f32(0.5f);
    for (int64_t i = 0; i < rounds; ++i) (multiply_add(acc[chain], half), ...);
    float32x4_t sum = vdupq_n_f32(0);
    ((sum = vaddq_f32(sum, acc[chain])), ...);
    return double(vaddvq_f32(sum));
}

double fma_chains(int64_t rounds) {
    return run_chains<0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21,
                      22, 23>(rounds);
}

}  // namespace genfast::neon

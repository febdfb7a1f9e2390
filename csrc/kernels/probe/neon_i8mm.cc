#include "simd/vec.h"

namespace genfast::neon {

double mm_int8_chains(int64_t rounds);

// By name: the compiler would see that all chains hold the same.
GENFAST_INLINE void multiply(int32x4_t& acc, int8x16_t a, int8x16_t b) {
    asm("smmla %0.4s, %1.16b, %2.16b" : "+w"(acc) : "w"(a), "w"(b));
}

// 24 chains of smmla, as many as simd.cc has of the others. No loop walks the array: the compiler
// would keep it in memory.
template <int... chain>
static double run_chains(int64_t rounds) {
    int32x4_t acc[] = {((void)chain, vdupq_n_s32(0))...};
    int8x16_t one = vdupq_n_s8(1);
    for (int64_t i = 0; i < rounds; ++i) (multiply(acc[chain], one, one), ...);
    double sum = 0;
    ((sum += double(uint32_t(vaddvq_s32(acc[chain])))), ...);
    return sum;
}

double mm_int8_chains(int64_t rounds) {
    return run_chains<0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21,
                      22, 23>(rounds);
}

}  // namespace genfast::neon

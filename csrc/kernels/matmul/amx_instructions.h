// The AMX instructions that matmul needs, as functions. Not g++ 12's intrinsics: they do not tell
// the compiler that a load reads memory, and it may move stores past it.
#pragma once

#include <cstdint>

namespace genfast::GENFAST_ISA {

// `config`: the 64 bytes that ldtilecfg takes.
static inline void tile_configure(const void* config) {
    asm volatile("ldtilecfg (%0)" : : "r"(config) : "memory");
}
static inline void tile_release() {
    asm volatile("tilerelease");
}
template <int tile>
static inline void tile_zero() {
    asm volatile("tilezero %%tmm%c0" : : "i"(tile));
}
template <int tile>
static inline void tile_load(const void* from, int64_t stride) {
    asm volatile("tileloadd (%0,%1), %%tmm%c2" : : "r"(from), "r"(stride), "i"(tile) : "memory");
}
template <int tile>
static inline void tile_store(void* to, int64_t stride) {
    asm volatile("tilestored %%tmm%c2, (%0,%1)" : : "r"(to), "r"(stride), "i"(tile) : "memory");
}
// sums [m][n] += a [m][k] * b [k][n], a dword of k at a time: four bytes, or two bf16.
template <int sums, int a, int b>
static inline void tile_dot_s8() {
    asm volatile("tdpbssd %%tmm%c2, %%tmm%c1, %%tmm%c0" : : "i"(sums), "i"(a), "i"(b));
}
template <int sums, int a, int b>
static inline void tile_dot_bf16() {
    asm volatile("tdpbf16ps %%tmm%c2, %%tmm%c1, %%tmm%c0" : : "i"(sums), "i"(a), "i"(b));
}

}  // namespace genfast::GENFAST_ISA

// The vocabulary of the vector kernels: sixteen float lanes on every instruction set.
//
// A fixed width means a fixed order: a kernel written over Vec sums its lanes in the same order
// with AVX2 (two registers a Vec) and NEON (four) as with AVX-512 (one), so all give the same bits.
// Every function is forced inline: nothing compiled for a wide instruction set may be shared by the
// linker.
//
// GENFAST_ISA is the namespace (avx2, avx512, neon) that CMake compiles this file into. For CUDA a
// Vec is a thread's one float: enough for the elementary functions (math.h), which then give the
// same bits there.
#pragma once

#if defined(__CUDACC__) || defined(GENFAST_CUDA_EMULATION)
#include "simd/vec_cuda.h"
#elif defined(__AVX512F__)
#include "simd/vec_avx512.h"
#elif defined(__AVX2__)
#include "simd/vec_avx2.h"
#elif defined(__aarch64__)
#include "simd/vec_neon.h"
#else
#error "simd sources are compiled for avx2, avx512 or neon; others use the reference kernels"
#endif

namespace genfast::GENFAST_ISA {

constexpr int kLanes = 16;

// For members of kernels' structs, where GENFAST_INLINE cannot stand.
#define GENFAST_MEMBER __attribute__((always_inline))

}  // namespace genfast::GENFAST_ISA

// E4M3 numbers (core/e4m3.h) as bf16, on which tensor cores multiply them: exactly, but for NaN,
// which neither weights nor a cache's numbers are.
#pragma once

#include "core/e4m3.h"
#include "cuda/launch.h"

namespace genfast::cuda {

// A pair of bf16 times 2^120, exactly. Compute capability 8.0 has no product of bf16, but one with
// a sum; beside -0 a zero keeps its sign.
__device__ inline uint32_t raise_pair(uint32_t pair) {
#if defined(__CUDA_ARCH__)
    asm("fma.rn.bf16x2 %0, %0, %1, %2;" : "+r"(pair) : "r"(0x7b807b80u), "r"(0x80008000u));
    return pair;
#else
    const float low = bf16_to_f32(uint16_t(pair)) * e4m3::kUp;
    const float high = bf16_to_f32(uint16_t(pair >> 16)) * e4m3::kUp;
    return f32_to_bits(low) >> 16 | (f32_to_bits(high) & 0xffff0000u);
#endif
}

// The four numbers of a dword, as two pairs.
__device__ inline uint2 e4m3_pairs(uint32_t four) {
    // A number's byte comes to the top of a bf16; what lies below it is masked away.
    auto pair = [](uint32_t tops) {
        return raise_pair((tops & 0x80008000u) | (tops >> 4 & 0x07f007f0u));
    };
    return {pair(__byte_perm(four, 0, 0x1100)), pair(__byte_perm(four, 0, 0x3322))};
}

}  // namespace genfast::cuda

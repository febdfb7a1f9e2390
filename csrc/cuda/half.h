// A half as a float, by the GPU's own instruction: dtype.h's way is many, and would be inlined into
// every loop over weights.
#pragma once

#include "core/dtype.h"
#include "cuda/launch.h"

namespace genfast::cuda {

__device__ inline float half_to_float(uint16_t bits) {
#if defined(__CUDA_ARCH__)
    float number;
    asm("cvt.f32.f16 %0, %1;" : "=f"(number) : "h"(bits));
    return number;
#else
    return f16_to_f32(bits);
#endif
}

}  // namespace genfast::cuda

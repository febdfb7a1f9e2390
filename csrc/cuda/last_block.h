// Work that blocks share out and one of them ends: whichever comes last.
#pragma once

#include "cuda/launch.h"

namespace genfast::cuda {

// By all threads of a block: whether it is the last of `blocks` that come here. It sees what they
// wrote before. The counter is zero before and after.
__device__ inline bool comes_last(unsigned* counter, int64_t blocks) {
    __shared__ bool last;
    __threadfence();
    __syncthreads();
    if (threadIdx.x == 0) {
        last = atomicAdd(counter, 1u) + 1 == blocks;
        if (last) *counter = 0;
    }
    __syncthreads();
    if (last) __threadfence();
    return last;
}

}  // namespace genfast::cuda

// Copies from the device's memory to the block's that run beside what their thread does meanwhile
// (cp.async, compute capability 8.0). A thread's copies are put into groups, and groups arrive in
// order. What others copied is seen after a barrier that follows their wait.
#pragma once

#include "cuda/launch.h"

namespace genfast::cuda {

#if !defined(GENFAST_CUDA_EMULATION)
// 16 bytes, both places aligned so; zeros if `there` is false, and then nothing is read.
__device__ inline void copy_async(void* to_shared, const void* from, bool there) {
    const auto to = static_cast<uint32_t>(__cvta_generic_to_shared(to_shared));
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(to), "l"(from),
                 "r"(there ? 16 : 0)
                 : "memory");
}
// Ends the group of copies that began after the last one ended; it may be empty.
__device__ inline void end_copy_group() {
    asm volatile("cp.async.commit_group;" ::: "memory");
}
// Waits until all of this thread's groups but the last `pending` are there.
template <int pending>
__device__ inline void wait_for_copies() {
    asm volatile("cp.async.wait_group %0;" ::"n"(pending) : "memory");
}
#endif

}  // namespace genfast::cuda

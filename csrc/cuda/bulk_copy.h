// Copies of whole pieces from the device's memory to the block's, made by hardware beside all
// threads (cp.async.bulk, compute capability 9.0), and the barriers that tell when they are there
// (mbarrier). One thread begins a copy of any length; nobody's registers are in its way.
#pragma once

#include "cuda/launch.h"

namespace genfast::cuda {

#if !defined(GENFAST_CUDA_EMULATION)
__device__ inline uint32_t shared_address(const void* shared) {
    return uint32_t(__cvta_generic_to_shared(shared));
}

// A barrier in the block's memory whose phases follow each other: one ends when `arrivals` have
// arrived and all bytes that were expected are there. Phases are told apart by their parity, 0 the
// first. What was written before an arrival is seen after the wait.
class Mbarrier {
  public:
    // By one thread; fence_mbarriers() and __syncthreads() come before all else.
    __device__ void init(int arrivals) {
        asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(address()), "r"(arrivals)
                     : "memory");
    }
    __device__ void arrive() {
        asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(address()) : "memory");
    }
    // Arrives, and has the phase wait for so many bytes more.
    __device__ void arrive_expecting(int bytes) {
        asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(address()),
                     "r"(bytes)
                     : "memory");
    }
    // Until the phase of this parity has ended; at once, if it is the one before the present.
    __device__ void wait(int parity) {
        asm volatile(
            "{\n"
            ".reg .pred there;\n"
            "again:\n"
            "mbarrier.try_wait.parity.shared::cta.b64 there, [%0], %1;\n"
            "@!there bra again;\n"
            "}" ::"r"(address()),
            "r"(parity)
            : "memory");
    }

  private:
    __device__ uint32_t address() const { return shared_address(&word_); }
    uint64_t word_;
};

__device__ inline void fence_mbarriers() {
    asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
}

// Places and length are multiples of 16. Copies arrive in any order.
__device__ inline void copy_bulk(void* to_shared, const void* from, int bytes, Mbarrier& there) {
    asm volatile(
        "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, "
        "[%3];" ::"r"(shared_address(to_shared)),
        "l"(from), "r"(bytes), "r"(shared_address(&there))
        : "memory");
}
#endif

// Stages that some fill and others empty, round and round: the i-th filling goes into
// stage i mod kStages.
template <int kStages>
struct Ring {
    Mbarrier full[kStages], empty[kStages];

    __device__ static int stage(int i) { return i % kStages; }

    // By all threads of the block. fillers: how many tell that a filling is there.
    __device__ void begin(int consumers, int fillers = 1) {
        if (threadIdx.x == 0)
            for (int i = 0; i < kStages; ++i) {
                full[i].init(fillers);
                empty[i].init(consumers);
            }
        fence_mbarriers();
        __syncthreads();
    }
    // Until the i-th filling may begin; who fills then lets full[stage(i)] expect its bytes.
    __device__ void wait_for_room(int i) { empty[stage(i)].wait((i / kStages + 1) % 2); }
    __device__ void wait_for_filling(int i) { full[stage(i)].wait(i / kStages % 2); }
    // By as many as `consumers`, each when it needs the i-th filling no more.
    __device__ void release(int i) { empty[stage(i)].arrive(); }
};

}  // namespace genfast::cuda

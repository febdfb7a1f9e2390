// Hopper's words for a CPU (csrc/cuda/bulk_copy.h, csrc/cuda/wgmma.h), part of emulation.h.
#pragma once

#include "cuda/emulation.h"

namespace genfast::emulation {

// `a`: of a warp's lanes. `b`: as csrc/cuda/wgmma.h describes it. dot(sum, a's word, b's word)
// adds to a sum, words in the order of K.
template <class Sum>
using Dot = void (*)(Sum& sum, uint32_t a, uint32_t b);
template <class Sum>
void multiply_beside(Sum* sum, int columns, const uint32_t (&a)[4], uint64_t b, Dot<Sum> dot);

void fence_products();
void end_products();

}  // namespace genfast::emulation

namespace genfast::cuda {

inline uint32_t shared_address(const void* shared) {
    const std::byte* from = emulation::shared_memory();
    return uint32_t(static_cast<const std::byte*>(shared) - from);
}

class Mbarrier {
  public:
    void init(int arrivals) {
        phase_ = 0;
        arrivals_ = awaited_ = uint16_t(arrivals);
        bytes_ = 0;
    }
    void arrive() {
        arrive_expecting(0);
        emulation::step_aside();
    }
    void arrive_expecting(int bytes) {
        if (awaited_ == 0) emulation::fail("more arrive at a barrier than it waits for");
        bytes_ += bytes;
        --awaited_;
        end_phase();
    }
    void copied(int bytes) {
        bytes_ -= bytes;
        end_phase();
    }
    void wait(int parity) {
        emulation::wait_until([=, this] { return phase_ != parity; });
    }

  private:
    void end_phase() {
        if (awaited_ != 0 || bytes_ != 0) return;
        phase_ ^= 1;
        awaited_ = arrivals_;
    }
    int32_t bytes_;
    uint16_t arrivals_ : 15, phase_ : 1, awaited_;
};
static_assert(sizeof(Mbarrier) == 8);

inline void fence_mbarriers() {}

inline void copy_bulk(void* to_shared, const void* from, int bytes, Mbarrier& there) {
    if ((reinterpret_cast<uintptr_t>(to_shared) | reinterpret_cast<uintptr_t>(from) |
         unsigned(bytes)) %
            16 !=
        0)
        emulation::fail("a bulk copy whose places or length are no multiples of 16");
    Mbarrier* barrier = &there;
    emulation::begin_bulk([=] {
        std::memcpy(to_shared, from, size_t(bytes));
        barrier->copied(bytes);
    });
}

template <class Word, size_t n>
void hold_registers(Word (&)[n]) {}
template <int n>
void give_registers() {}
template <int n>
void take_registers() {}
inline void meet_warpgroup() {
    emulation::meet_warpgroup();
}
inline void fence_written() {}
inline void fence_products() {
    emulation::fence_products();
}
inline void end_products() {
    emulation::end_products();
}
template <int pending>
void wait_for_products() {
    emulation::wait_for_groups(emulation::Beside::products, pending);
}

template <int N>
void wgmma_bf16(float (&sum)[N / 2], const uint32_t (&a)[4], uint64_t b) {
    emulation::multiply_beside<float>(sum, N, a, b, add_bf16_pair);
}
template <int N>
void wgmma_s8(int32_t (&sum)[N / 2], const uint32_t (&a)[4], uint64_t b) {
    emulation::multiply_beside<int32_t>(
        sum, N, a, b, [](int32_t& to, uint32_t x, uint32_t y) { to = __dp4a(int(x), int(y), to); });
}

}  // namespace genfast::cuda

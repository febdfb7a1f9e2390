// CUDA's words for a CPU (csrc/cuda/launch.h): the threads of a block are fibers that take turns,
// block after block; they switch where they wait for each other.
//
// What a GPU leaves open is varied: blocks and threads run in one order, then in the other. Threads
// that wait at different barriers for ever are an error.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>
#include <functional>
#include <type_traits>

#define __global__
#define __device__
#define __host__
#define __shared__ static

struct dim3 {
    unsigned x, y, z;
    constexpr dim3(unsigned x = 1, unsigned y = 1, unsigned z = 1) : x(x), y(y), z(z) {}
};

inline dim3 threadIdx, blockIdx, blockDim, gridDim;

namespace genfast::emulation {

// Throws std::logic_error where threads would wait for ever.
void run(dim3 grid, int threads, const std::function<void()>& kernel);
void queue(std::function<void()> work);  // does it, or keeps it for the graph that is captured
void meet_block();
void meet_warp();
uint32_t exchange(uint32_t mine, int from_lane);  // all lanes of a warp at once

template <class T>
T exchange_bits(T mine, int from_lane) {
    static_assert(sizeof(T) == 4);
    uint32_t bits;
    std::memcpy(&bits, &mine, 4);
    bits = exchange(bits, from_lane);
    T theirs;
    std::memcpy(&theirs, &bits, 4);
    return theirs;
}

}  // namespace genfast::emulation

inline void __syncthreads() {
    genfast::emulation::meet_block();
}
inline void __syncwarp() {
    genfast::emulation::meet_warp();
}
inline void __threadfence() {}

template <class T>
T __shfl_sync(unsigned, T mine, int lane) {
    return genfast::emulation::exchange_bits(mine, lane);
}
template <class T>
T __shfl_xor_sync(unsigned, T mine, int distance) {
    return genfast::emulation::exchange_bits(mine, int(threadIdx.x % 32) ^ distance);
}

template <class T>
T atomicAdd(T* to, std::common_type_t<T> more) {
    T before = *to;
    *to += more;
    return before;
}

inline int __dp4a(int a, int b, int sum) {
    for (int i = 0; i < 32; i += 8)
        sum += int(int8_t(uint32_t(a) >> i)) * int(int8_t(uint32_t(b) >> i));
    return sum;
}

namespace genfast::cuda {

template <class... Parameters>
void launch(void (*kernel)(Parameters...), dim3 grid, int threads, const Parameters&... arguments) {
    emulation::queue([=] { emulation::run(grid, threads, [&] { kernel(arguments...); }); });
}

}  // namespace genfast::cuda

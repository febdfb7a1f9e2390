// CUDA's words for a CPU (csrc/cuda/launch.h): the threads of a block are fibers that take turns,
// block after block; they switch where they wait for each other.
//
// What a GPU leaves open is varied: blocks and threads run in one order, then in the other, and
// copies and products that run beside their thread are made as soon or as late as may be. A launch
// begins after the one before it, or before: that one then runs when a thread first waits for it,
// as every thread must. Threads that wait at different barriers for ever are an error.
#pragma once

#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <type_traits>

#define __global__
#define __device__
#define __host__
#define __shared__ static
#define __launch_bounds__(...)

struct dim3 {
    unsigned x, y, z;
    constexpr dim3(unsigned x = 1, unsigned y = 1, unsigned z = 1) : x(x), y(y), z(z) {}
};

struct alignas(8) uint2 {
    unsigned x, y;
};
struct alignas(16) uint4 {
    unsigned x, y, z, w;
};

inline dim3 threadIdx, blockIdx, blockDim, gridDim;

namespace genfast::emulation {

using Work = std::function<void()>;

struct Launch {
    dim3 grid;
    int threads;
    size_t shared;
    Work kernel;
};
// Throws std::logic_error where threads would wait for ever. `earlier`, if any, was launched
// before, and is run when a thread first waits for it.
void run(const Launch& launch, const Launch* earlier = nullptr);
void wait_for_earlier();
// These do it, or keep it for the graph that is captured.
void queue(Work work);
void queue(Launch launch);
void fail(const char* what);  // run() throws it
std::byte* shared_memory();   // the `shared` bytes, in which every block finds garbage
void meet_block();
void meet_warpgroup();
void meet_warp();
void wait_until(const std::function<bool()>& there);
void step_aside();  // others may do what they now can, all of it if products are late

// What the 32 lanes of a warp gave, all of which call it; until the next call but one.
using Words = std::array<uint32_t, 6>;
const Words* gather(const Words& mine);

// What a thread has begun that runs beside it, in groups.
enum class Beside { copies, products };
void begin_beside(Beside kind, Work work);
void end_group(Beside kind);
void wait_for_groups(Beside kind, size_t pending);
void copy_later(void* to, const void* from, bool there);  // 16 bytes
void begin_bulk(Work copy);                               // in no thread's group

template <class T>
T exchange_bits(T mine, int from_lane) {
    static_assert(sizeof(T) == 4);
    Words words{};
    std::memcpy(words.data(), &mine, 4);
    T theirs;
    std::memcpy(&theirs, gather(words)[from_lane].data(), 4);
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

inline bool __all_sync(unsigned, bool mine) {
    const auto* lanes = genfast::emulation::gather({mine});
    bool all = true;
    for (int i = 0; i < 32; ++i) all &= lanes[i][0] != 0;
    return all;
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

// Bytes of y:x, by the nibbles of `which`.
inline uint32_t __byte_perm(uint32_t x, uint32_t y, uint32_t which) {
    const uint64_t both = uint64_t(y) << 32 | x;
    uint32_t chosen = 0;
    for (int i = 0; i < 4; ++i) chosen |= uint32_t(both >> 8 * (which >> 4 * i & 7) & 255) << 8 * i;
    return chosen;
}

namespace genfast::cuda {

template <class... Parameters>
void launch_with_shared(void (*kernel)(Parameters...), size_t shared, dim3 grid, int threads,
                        const Parameters&... arguments) {
    emulation::queue(emulation::Launch{grid, threads, shared, [=] { kernel(arguments...); }});
}
inline void wait_for_earlier_launches() {
    emulation::wait_for_earlier();
}
inline void prefetch(const void*) {}
inline std::byte* dynamic_shared() {
    return emulation::shared_memory();
}

inline void copy_async(void* to_shared, const void* from, bool there) {
    emulation::copy_later(to_shared, from, there);
}
inline void end_copy_group() {
    emulation::end_group(emulation::Beside::copies);
}
template <int pending>
void wait_for_copies() {
    emulation::wait_for_groups(emulation::Beside::copies, pending);
}

// fn(e, a's word, b's word) for the lane's four sums, words in the order of K:
// csrc/cuda/tensor_core.h says where they lie.
template <class Fn>
void each_product(const uint32_t (&a)[4], uint2 b, Fn fn) {
    const emulation::Words* lanes = emulation::gather({a[0], a[1], a[2], a[3], b.x, b.y});
    const int g = int(threadIdx.x % 32) / 4, t = int(threadIdx.x % 32) % 4;
    for (int e = 0; e < 4; ++e)
        for (size_t word = 0; word < 8; ++word) {
            const size_t half = word / 4, at = word % 4;
            fn(e, lanes[size_t(g) * 4 + at][half * 2 + size_t(e / 2)],
               lanes[size_t(2 * t + e % 2) * 4 + at][4 + half]);
        }
}

// A chain in the order of K, so that another place of a product is another sum.
inline void add_bf16_pair(float& sum, uint32_t x, uint32_t y) {
    const uint32_t words[] = {x << 16, y << 16, x & 0xffff0000u, y & 0xffff0000u};
    float numbers[4];
    std::memcpy(numbers, words, sizeof(numbers));
    sum = std::fma(numbers[0], numbers[1], sum);
    sum = std::fma(numbers[2], numbers[3], sum);
}
inline void mma_bf16(float (&sum)[4], const uint32_t (&a)[4], uint2 b) {
    each_product(a, b, [&](int e, uint32_t x, uint32_t y) { add_bf16_pair(sum[e], x, y); });
}
inline void mma_s8(int32_t (&sum)[4], const uint32_t (&a)[4], uint2 b) {
    each_product(a, b,
                 [&](int e, uint32_t x, uint32_t y) { sum[e] = __dp4a(int(x), int(y), sum[e]); });
}

}  // namespace genfast::cuda

#include "cuda/emulation_hopper.h"

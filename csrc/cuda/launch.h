// What a CUDA kernel's source stands on: CUDA's own words, and a launch.
//
// The sources are compiled twice: by nvcc, for GPUs; and by the tests for the CPU, where
// GENFAST_CUDA_EMULATION names a header that gives these words a meaning there. So what a kernel
// computes, and every index in it, is tested where there is no GPU, under sanitizers too.
//
// Work is queued on the calling thread's own stream. Sums are made in an order that sizes alone
// decide, never how many rows there are or what runs beside: the same bits in any batch. Products
// are fused with sums only where the source says fmaf.
#pragma once

#if defined(GENFAST_CUDA_EMULATION)
#include GENFAST_CUDA_EMULATION
#else
#include <cuda_runtime.h>

#include <cstddef>

#include "core/error.h"

namespace genfast::cuda {

inline void check(cudaError_t status, const char* what) {
    if (status == cudaSuccess) return;
    throw std::runtime_error(cat("CUDA: ", what, ": ", cudaGetErrorString(status)));
}

constexpr size_t kUnaskedShared = 48 * 1024;  // bytes of the block's memory that any launch has

template <class... Parameters>
void launch_with_shared(void (*kernel)(Parameters...), size_t shared, dim3 grid, int threads,
                        const Parameters&... arguments) {
    const void* function = reinterpret_cast<const void*>(kernel);
    if (shared > kUnaskedShared)
        check(cudaFuncSetAttribute(function, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                   int(shared)),
              "a kernel's shared memory");
    void* places[] = {const_cast<Parameters*>(&arguments)...};
    check(cudaLaunchKernel(function, grid, dim3(unsigned(threads)), places, shared,
                           cudaStreamPerThread),
          "a kernel could not be launched");
}

// The `shared` bytes of its launch.
__device__ inline std::byte* dynamic_shared() {
    extern __shared__ __align__(1024) std::byte memory[];
    return memory;
}

}  // namespace genfast::cuda
#endif

#include <cmath>
#include <cstdint>

namespace genfast::cuda {

template <class... Parameters>
void launch(void (*kernel)(Parameters...), dim3 grid, int threads, const Parameters&... arguments) {
    launch_with_shared(kernel, 0, grid, threads, arguments...);
}

// Of the first GPU: 80 is 8.0.
int compute_capability();

constexpr int kWarp = 32;
constexpr int kThreads = 128;  // of a block, where nothing else is said
constexpr int kWarps = kThreads / kWarp;

__device__ inline int lane() {
    return int(threadIdx.x) % kWarp;
}
__device__ inline int warp() {
    return int(threadIdx.x) / kWarp;
}
// Of all threads of a grid of one dimension.
__device__ inline int64_t global_thread() {
    return int64_t(blockIdx.x) * kThreads + threadIdx.x;
}
inline dim3 blocks_for(int64_t threads) {
    return dim3(unsigned((threads + kThreads - 1) / kThreads));
}

// The same bits in every lane: the two sides of an exchange add the same pair.
__device__ inline float warp_sum(float x) {
    for (int distance = kWarp / 2; distance > 0; distance /= 2)
        x += __shfl_xor_sync(~0u, x, distance);
    return x;
}
__device__ inline float warp_max(float x) {
    for (int distance = kWarp / 2; distance > 0; distance /= 2)
        x = fmaxf(x, __shfl_xor_sync(~0u, x, distance));
    return x;
}

// Over all threads of the block, each of which gets the result.
__device__ inline float block_sum(float x) {
    __shared__ float parts[kWarps];
    x = warp_sum(x);
    if (lane() == 0) parts[warp()] = x;
    __syncthreads();
    float sum = parts[0];
    for (int i = 1; i < kWarps; ++i) sum += parts[i];
    __syncthreads();  // parts may be written again
    return sum;
}
__device__ inline float block_max(float x) {
    __shared__ float parts[kWarps];
    x = warp_max(x);
    if (lane() == 0) parts[warp()] = x;
    __syncthreads();
    float most = parts[0];
    for (int i = 1; i < kWarps; ++i) most = fmaxf(most, parts[i]);
    __syncthreads();
    return most;
}

}  // namespace genfast::cuda

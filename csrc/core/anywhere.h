// Marks a function of a header that CUDA kernels share with the CPU's: where nvcc compiles it, it
// exists for both.
#pragma once

#if defined(__CUDACC__)
#define GENFAST_ANYWHERE __host__ __device__ static inline
#else
#define GENFAST_ANYWHERE static inline
#endif

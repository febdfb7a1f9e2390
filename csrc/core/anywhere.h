// Marks functions of headers that CUDA kernels share with the CPU's: where nvcc compiles them, they
// exist for both. A member is inlined always: headers are compiled for several instruction sets,
// and the linker must not keep one set's copy for all.
#pragma once

#if defined(__CUDACC__)
#define GENFAST_ANYWHERE __host__ __device__ static inline
#define GENFAST_MEMBER_ANYWHERE __host__ __device__ __forceinline__
#else
#define GENFAST_ANYWHERE static inline
#define GENFAST_MEMBER_ANYWHERE [[gnu::always_inline]] inline
#endif

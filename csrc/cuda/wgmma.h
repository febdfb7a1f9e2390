// Hopper's tensor cores (compute capability 9.0 alone: sm_90a). A warpgroup, four warps, multiplies
// 64 rows of `a`, which its lanes hold, by N rows of `b` in the block's memory, and adds to `sum`,
// beside what its lanes do meanwhile. mma.sync is said to reach three quarters of that at most.
//
// a and sum lie in the lanes as mma.sync's do (tensor_core.h), warp w having rows 16 w ... 16 w +
// 15: a[0] row g, word t; a[1] row g + 8, word t; a[2] and a[3] the same of word t + 4; for each 8
// columns four of sum.
//
// Products go in groups: fence_products(), products, end_products(), wait_for_products(). Until the
// wait nobody may touch their sums, or write what of b they read. What else passes through sums or
// a is put before the fence and after the wait by hold_registers(): the compiler knows of neither.
#pragma once

#include "cuda/bulk_copy.h"

// Where there is code for these: kernels that call them are left empty for other GPUs.
#if defined(GENFAST_CUDA_EMULATION) || defined(__CUDA_ARCH_FEAT_SM90_ALL)
#define GENFAST_WGMMA
#endif

namespace genfast::cuda {

constexpr int kWarpgroup = 128;

// The launches choose by this.
inline bool has_wgmma() {
    return compute_capability() == 90;
}

__device__ inline int warpgroup() {
    return int(threadIdx.x) / kWarpgroup;
}

enum class Swizzle { none = 0, bytes128 = 1, bytes64 = 2, bytes32 = 3 };

// b in the block's memory (PTX ISA, "Matrix descriptor"), K along its rows: in core matrices of 8
// rows by 16 bytes, of which a product takes two along K. Without a swizzle such a matrix is 128
// bytes end to end, the second is `along_k` bytes from the first, the next 8 rows are
// `along_rows` bytes on. With one, 8 rows of 32, 64 or 128 bytes lie end to end, the 16 bytes of
// each exchanged with others by its place, and `along_k` means nothing.
__device__ inline uint64_t describe(const void* shared, int along_k, int along_rows,
                                    Swizzle swizzle = Swizzle::none) {
    return uint64_t(shared_address(shared) >> 4 & 0x3fff) | uint64_t(along_k >> 4) << 16 |
           uint64_t(along_rows >> 4) << 32 | uint64_t(swizzle) << 62;
}

#if !defined(GENFAST_CUDA_EMULATION)
template <size_t n>
__device__ inline void hold_registers(float (&x)[n]) {
#pragma unroll
    for (size_t i = 0; i < n; ++i) asm volatile("" : "+f"(x[i])::"memory");
}
template <class Word, size_t n>
__device__ inline void hold_registers(Word (&x)[n]) {
#pragma unroll
    for (size_t i = 0; i < n; ++i) asm volatile("" : "+r"(x[i])::"memory");
}

// How many registers each thread of this warpgroup has from now on, a multiple of 8: fewer than it
// was launched with; or more, when others have given as many.
template <int n>
__device__ inline void give_registers() {
    asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(n));
}
template <int n>
__device__ inline void take_registers() {
    asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(n));
}
// __syncthreads() of a warpgroup.
__device__ inline void meet_warpgroup() {
    asm volatile("bar.sync %0, 128;" ::"r"(warpgroup() + 1) : "memory");
}
// What threads wrote into the block's memory is seen by products, after a barrier too.
__device__ inline void fence_written() {
    asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
}
__device__ inline void fence_products() {
    asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
}
__device__ inline void end_products() {
    asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
}
// Until all groups but the last `pending` are done.
template <int pending>
__device__ inline void wait_for_products() {
    asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(pending) : "memory");
}

// The operands' names, %0 ... %n, and the registers behind them.
#define GENFAST_OF_TEN_2(t) "%" t "0, %" t "1"
#define GENFAST_OF_TEN_4(t) GENFAST_OF_TEN_2(t) ", %" t "2, %" t "3"
#define GENFAST_OF_TEN_6(t) GENFAST_OF_TEN_4(t) ", %" t "4, %" t "5"
#define GENFAST_OF_TEN_8(t) GENFAST_OF_TEN_6(t) ", %" t "6, %" t "7"
#define GENFAST_TEN(t) GENFAST_OF_TEN_8(t) ", %" t "8, %" t "9, "
#define GENFAST_TENS_3 GENFAST_TEN("") GENFAST_TEN("1") GENFAST_TEN("2")
#define GENFAST_TENS_6 GENFAST_TENS_3 GENFAST_TEN("3") GENFAST_TEN("4") GENFAST_TEN("5")
#define GENFAST_TENS_12                                                                \
    GENFAST_TENS_6 GENFAST_TEN("6") GENFAST_TEN("7") GENFAST_TEN("8") GENFAST_TEN("9") \
        GENFAST_TEN("10") GENFAST_TEN("11")
#define GENFAST_SUMS_4(c, i) c(sum[i]), c(sum[i + 1]), c(sum[i + 2]), c(sum[i + 3])
#define GENFAST_SUMS_8(c, i) GENFAST_SUMS_4(c, i), GENFAST_SUMS_4(c, i + 4)
#define GENFAST_SUMS_16(c, i) GENFAST_SUMS_8(c, i), GENFAST_SUMS_8(c, i + 8)
#define GENFAST_SUMS_32(c, i) GENFAST_SUMS_16(c, i), GENFAST_SUMS_16(c, i + 16)
#define GENFAST_SUMS_64(c, i) GENFAST_SUMS_32(c, i), GENFAST_SUMS_32(c, i + 32)

#define GENFAST_PRODUCT(n, kind, sums, others, ...)                                 \
    if constexpr (N == n)                                                           \
    asm volatile("wgmma.mma_async.sync.aligned.m64n" #n kind " {" sums "}, " others \
                 : __VA_ARGS__                                                      \
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b))
// `c`: the constraint of a sum; `end`: what follows b: to add to the sums, and factors of floats.
#define GENFAST_PRODUCTS(kind, c, end)                                                         \
    static_assert(N == 8 || N == 16 || N == 32 || N == 64 || N == 96 || N == 128 || N == 256); \
    GENFAST_PRODUCT(8, kind, GENFAST_OF_TEN_4(""), "{%4, %5, %6, %7}, %8, " end,               \
                    GENFAST_SUMS_4(c, 0));                                                     \
    GENFAST_PRODUCT(16, kind, GENFAST_OF_TEN_8(""), "{%8, %9, %10, %11}, %12, " end,           \
                    GENFAST_SUMS_8(c, 0));                                                     \
    GENFAST_PRODUCT(32, kind, GENFAST_TEN("") GENFAST_OF_TEN_6("1"),                           \
                    "{%16, %17, %18, %19}, %20, " end, GENFAST_SUMS_16(c, 0));                 \
    GENFAST_PRODUCT(64, kind, GENFAST_TENS_3 GENFAST_OF_TEN_2("3"),                            \
                    "{%32, %33, %34, %35}, %36, " end, GENFAST_SUMS_32(c, 0));                 \
    GENFAST_PRODUCT(96, kind, GENFAST_TENS_3 GENFAST_TEN("3") GENFAST_OF_TEN_8("4"),           \
                    "{%48, %49, %50, %51}, %52, " end, GENFAST_SUMS_32(c, 0),                  \
                    GENFAST_SUMS_16(c, 32));                                                   \
    GENFAST_PRODUCT(128, kind, GENFAST_TENS_6 GENFAST_OF_TEN_4("6"),                           \
                    "{%64, %65, %66, %67}, %68, " end, GENFAST_SUMS_64(c, 0));                 \
    GENFAST_PRODUCT(256, kind, GENFAST_TENS_12 GENFAST_OF_TEN_8("12"),                         \
                    "{%128, %129, %130, %131}, %132, " end, GENFAST_SUMS_64(c, 0),             \
                    GENFAST_SUMS_64(c, 64))
#define GENFAST_FLOAT_SUM(x) "+f"(x)
#define GENFAST_INT_SUM(x) "+r"(x)

// bf16, summed in float: the order is the hardware's own, as mma_bf16's is, and need not be that.
template <int N>
__device__ inline void wgmma_bf16(float (&sum)[N / 2], const uint32_t (&a)[4], uint64_t b) {
    GENFAST_PRODUCTS("k16.f32.bf16.bf16", GENFAST_FLOAT_SUM, "1, 1, 1, 0;");
}
// Signed bytes, exact.
template <int N>
__device__ inline void wgmma_s8(int32_t (&sum)[N / 2], const uint32_t (&a)[4], uint64_t b) {
    GENFAST_PRODUCTS("k32.s32.s8.s8", GENFAST_INT_SUM, "1;");
}
#undef GENFAST_PRODUCT
#undef GENFAST_PRODUCTS
#endif

}  // namespace genfast::cuda

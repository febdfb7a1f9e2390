// Row reductions shared by softmax, sample and logprobs. Their order depends on the length alone.
#pragma once

#include "simd/math.h"

namespace genfast::GENFAST_ISA {

// Floats are summed over blocks of this many elements, blocks in double: the error of a long sum
// stays that of a short one.
constexpr int64_t kSumBlock = 1024;

// The largest of x[0..n), n >= 1; NaN is skipped (-infinity when there is nothing else).
GENFAST_INLINE float row_max(const float* x, int64_t n) {
    Vec lowest = vset(-__builtin_inff());
    Vec acc[4] = {lowest, lowest, lowest, lowest};
    int64_t i = 0;
    // vmax gives its second argument when either is NaN
    for (; i + 4 * kLanes <= n; i += 4 * kLanes)
        for (int j = 0; j < 4; ++j) acc[j] = vmax(vload(x + i + j * kLanes), acc[j]);
    for (; i < n; i += kLanes) {
        int left = int(n - i < kLanes ? n - i : kLanes);
        acc[0] = vmax(vkeep_n(vload_n(x + i, left), left, lowest), acc[0]);
    }
    return vmaxall(vmax(vmax(acc[0], acc[1]), vmax(acc[2], acc[3])));
}

// The smallest of x[0..n), n >= 1; NaN is skipped.
GENFAST_INLINE float row_min(const float* x, int64_t n) {
    Vec highest = vset(__builtin_inff()), acc = highest;
    int64_t i = 0;
    for (; i + kLanes <= n; i += kLanes) acc = vmin(vload(x + i), acc);
    if (i < n) acc = vmin(vkeep_n(vload_n(x + i, int(n - i)), int(n - i), highest), acc);
    return -vmaxall(vsub(vzero(), acc));
}

// total[j] = sum of f(i, n, part)'s part[j], f giving the Vecs of elements i .. i + n with zeros
// behind them
template <int kSums, class F>
GENFAST_INLINE void block_sums(int64_t n, double* total, F f) {
    for (int j = 0; j < kSums; ++j) total[j] = 0;
    for (int64_t block = 0; block < n; block += kSumBlock) {
        int64_t end = n - block < kSumBlock ? n : block + kSumBlock, i = block;
        Vec acc[2][kSums], part[kSums];
        for (int j = 0; j < kSums; ++j) acc[0][j] = acc[1][j] = vzero();
        for (; i + 2 * kLanes <= end; i += 2 * kLanes)
            for (int half = 0; half < 2; ++half) {
                f(i + half * kLanes, kLanes, part);
                for (int j = 0; j < kSums; ++j) acc[half][j] = vadd(acc[half][j], part[j]);
            }
        for (; i < end; i += kLanes) {
            f(i, int(end - i < kLanes ? end - i : kLanes), part);
            for (int j = 0; j < kSums; ++j) acc[0][j] = vadd(acc[0][j], part[j]);
        }
        for (int j = 0; j < kSums; ++j) total[j] += double(vsum(vadd(acc[0][j], acc[1][j])));
    }
}

template <class F>
GENFAST_INLINE double block_sum(int64_t n, F f) {
    double total;
    block_sums<1>(n, &total, [&](int64_t i, int some, Vec* part) { *part = f(i, some); });
    return total;
}

}  // namespace genfast::GENFAST_ISA

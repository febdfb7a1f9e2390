// The rows of rms_norm and layer_norm on a GPU: block (t, g) has group g of row t.
#pragma once

#include "cuda/launch.h"

namespace genfast::cuda {

template <class Args>
dim3 norm_grid(const Args& a) {
    return dim3(unsigned(a.T), unsigned(a.groups));
}

template <class Args>
__device__ inline int64_t norm_columns(const Args& a) {
    return a.columns ? a.columns : a.groups * a.E;
}

struct NormGroup {
    int64_t t, at;  // its row, and its first column among those of all groups
    const float* x;
    float* out;

    template <class Args>
    __device__ explicit NormGroup(const Args& a) : t(blockIdx.x), at(int64_t(blockIdx.y) * a.E) {
        const int64_t first = t * norm_columns(a) + a.first + at;
        x = a.x + first;
        out = a.out + first;
    }
};

// What lies beside the groups of a row, by the block of the first.
template <class Args>
__device__ inline void copy_beside(const Args& a) {
    if (blockIdx.y > 0 || a.x == a.out) return;
    const int64_t columns = norm_columns(a), row = int64_t(blockIdx.x) * columns;
    for (int64_t i = threadIdx.x; i < columns; i += kThreads)
        if (i < a.first || i >= a.first + a.groups * a.E) a.out[row + i] = a.x[row + i];
}

}  // namespace genfast::cuda

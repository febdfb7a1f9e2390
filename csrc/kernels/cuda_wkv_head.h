// What wkv6 and wkv7 share on a GPU. Block (h, i) takes head h of sequence i, token after token; a
// thread owns some of its columns, and of the state all that these hold.
#pragma once

#include "cuda/launch.h"
#include "kernels/wkv_head.h"

namespace genfast::cuda {

constexpr int kWkvOwned = int(kMaxWkvHead) / kThreads;

// fn(column of the head, which of the thread's own it is)
template <class Fn>
__device__ inline void each_owned(int64_t D, Fn fn) {
#pragma unroll
    for (int i = 0; i < kWkvOwned; ++i)
        if (const int64_t j = threadIdx.x + i * kThreads; j < D) fn(j, i);
}

// Where column j's number of key 0 lies; of the next key, kWkvLanes further.
__device__ inline int64_t wkv_place(int64_t D, int64_t j) {
    return j / kWkvLanes * D * kWkvLanes + j % kWkvLanes;
}

// token(t, old, state) for each of the block's tokens: the states of its head, old null for zeros.
template <class Args, class Token>
__device__ inline void each_wkv_token(const Args& a, Token token) {
    const SequenceSpan span = a.spans[blockIdx.y];
    if (span.rows == 0) return;
    const int64_t at = blockIdx.x * wkv_state_floats(1, a.D);
    const float* old = a.state.before(span);
    float* state = a.state.after(span) + at;
    if (old) old += at;
    for (int64_t t = span.row; t < span.row + span.rows; ++t, old = state) token(t, old, state);
}

// The thread's columns of y become those of norm(y).
__device__ inline void norm_head(float (&y)[kWkvOwned], int64_t D, float eps) {
    float sum = 0, squares = 0;
    each_owned(D, [&](int64_t, int i) { sum += y[i]; });
    const float mean = block_sum(sum) / float(D);
    each_owned(D, [&](int64_t, int i) { squares = fmaf(y[i] - mean, y[i] - mean, squares); });
    const float factor = 1 / sqrtf(block_sum(squares) / float(D) + eps);
    each_owned(D, [&](int64_t, int i) { y[i] = (y[i] - mean) * factor; });
}

}  // namespace genfast::cuda

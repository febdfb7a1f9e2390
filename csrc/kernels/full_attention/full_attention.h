// full_attention: out[n, t, h] = sum_s softmax_s(q[n, t, h] . k[n, s, h] scale + bias[h, t, s] +
//   mask[n, s]) v[n, s, h] over all s (causal: those up to t); nothing is cached
//   q, out [N, Tq, H D] f32; k, v [N, Tk, H D] f32; mask [N, Tk] f32
//   bias [H, Tq, Tk] f32, or [Tq, Tk] for all heads
//
// Two products with a softmax between them (Rabe and Staats, 2021, arXiv 2112.05682), of f32 or
// bf16 (then scores and their weights are sums of rounded numbers too), a block of keys at a time.
// What a query has summed up so far shrinks where a block has a larger score. The order of its sums
// depends on Tk and D alone.
#pragma once

#include <cstddef>
#include <cstdint>

namespace genfast {

struct FullAttentionArgs {
    const float* q;
    const float* k;
    const float* v;
    const float* bias;  // may be null
    const float* mask;  // may be null
    float* out;
    std::byte* scratch;  // full_attention_scratch_bytes, 64-byte aligned
    int64_t N, Tq, Tk, H, D;
    float scale;
    bool causal, bias_per_head, bfloat16;
};

}  // namespace genfast

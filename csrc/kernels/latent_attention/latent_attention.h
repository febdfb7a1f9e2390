// latent_attention: attention whose heads all read one row a token, key and value at once
// (DeepSeek-V2, 2024, arXiv 2405.04434, with its projections absorbed into queries and outputs).
// Appends this step's rows to the paged cache, then
//   out[t, h] = sum_s softmax_s((q[t, h] . c[s] + p[t, h] . k[s]) * scale) c[s]
//   over the tokens s <= position of t, with a window only the last `window` of these and the first
//   `sinks` of the sequence
//   q [T, H R] f32; turned [T, columns] f32, in each row first the rotated p [H P], then anything;
//   rows [T, P + R] f32: k (rotated), then c; out [T, H R] f32
// The cache holds c and k of a token side by side (kv_layout.h: head_dim = R + P, latent = R),
// rounded to its type, f32, bf16 or int8, and all that is computed with is read back from there.
//
// Numerics: a score is one chain of fma over c, then k, in ascending d, and in f32 whatever the
// cache's type. Tokens are taken a page at a time, in ascending order, with a running maximum;
// blocks of kRunTokens at absolute positions begin afresh and are merged in ascending order. So the
// result does not depend on chunking, on other rows, on threads or on where pages lie. Tokens that
// a row does not see are not read into its result, whatever they hold.
#pragma once

#include "kernels/attention/attention.h"

namespace genfast {

struct LatentArgs {
    const float* q;
    const float* turned;
    const float* rows;
    float* out;
    std::byte* cache;  // this layer's storage
    KvLayout layout;   // of one head
    const SequenceSpan* spans;
    std::byte* scratch;  // latent_attention_scratch_bytes, 64-byte aligned
    int64_t span_count;
    int64_t T;
    int64_t columns;      // of turned, at least H P
    int heads;            // H
    float scale;          // > 0
    int64_t window;       // 0: all; else only the last `window` positions, the own one included
    int64_t sinks;        // with a window: the first positions, at most kPageTokens, seen by all
    int64_t context = 0;  // most tokens of a sequence: a GPU's blocks are counted before the step
};

}  // namespace genfast

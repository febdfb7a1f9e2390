// wkv6: the recurrence of RWKV-5 and RWKV-6 over the tokens of one sequence (Peng et al., 2024,
// arXiv 2404.05892). A head of D channels has a state S [D keys, D values], which begins as 0. Of
// its columns of a token:
//   y[j] = sum_i r[i] * (S[i, j] + u[i] * k[i] * v[j])
//   S[i, j] = exp(-exp(w[i])) * S[i, j] + k[i] * v[j]
//   out[j] = (norm(y)[j] * weight[j] + bias[j]) * g[j]
// with norm(y) = (y - mean) / sqrt(var + eps) over the head.
//   r, k, v, g, out [T, H D] f32; u, weight, bias [H D]; w [T, H D], or [H D] for all tokens
//
// State: see wkv_head.h. Numerics: sums over i ascend; those over a head's columns have an order
// that depends on D alone. So the result does not depend on chunking, on other rows or on threads.
#pragma once

#include "kernels/wkv_head.h"

namespace genfast {

struct Wkv6Args {
    const float *r, *w, *k, *v, *g;
    const float *u, *weight, *bias;
    float* out;
    const SequenceSpan* spans;
    int64_t span_count;
    StateSlots state;
    int64_t heads, D;  // D: at most kMaxWkvHead
    int64_t w_stride;  // from a token's w to the next one's: H D, or 0
    float eps;
};

}  // namespace genfast

// wkv7: the recurrence of RWKV-7 over the tokens of one sequence (Peng et al., 2025, arXiv
// 2503.14456). A head of D channels has a state S [D keys, D values], which begins as 0. Of its
// columns of a token:
//   decay = exp(-e^-0.5 sigmoid(w))         rate = sigmoid(a)
//   u = v + (v_first - v) * sigmoid(m)      (u = v where v_first and m are left out)
//   q = k * k_k, q = q / max(|q|, 1e-12)    key = k * (1 + (rate - 1) * k_a)
//   removed[j] = sum_i S[i, j] * -q[i]
//   S[i, j] = decay[i] * S[i, j] + q[i] * rate[i] * removed[j] + key[i] * u[j]
//   y[j] = sum_i S[i, j] * r[i]
//   out[j] = (norm(y)[j] * weight[j] + bias[j] + (sum_i r[i] * key[i] * r_k[i]) * u[j]) * g[j]
// with norm(y) = (y - mean) / sqrt(var + eps) over the head.
//   r, w, k, v, a, g, v_first, m, out [T, H D] f32; k_k, k_a, r_k, weight, bias [H D]
//
// State: see wkv_head.h. Numerics: sums over i ascend; those over a head's columns have an order
// that depends on D alone. So the result does not depend on chunking, on other rows or on threads.
#pragma once

#include "kernels/wkv_head.h"

namespace genfast {

constexpr float kWkvSlowest = 0.60653066f;  // e^-0.5

struct Wkv7Args {
    const float *r, *w, *k, *v, *a, *g;
    const float *v_first, *m;  // both may be null
    const float *k_k, *k_a, *r_k, *weight, *bias;
    float* out;
    const SequenceSpan* spans;
    int64_t span_count;
    StateSlots state;
    int64_t heads, D;  // D: at most kMaxWkvHead
    float eps;
};

}  // namespace genfast

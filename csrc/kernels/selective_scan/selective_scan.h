// selective_scan: the recurrence of state space models over the tokens of one sequence. For each
// channel c of head h, with a state S of N numbers that begins as 0, token after token:
//   d = min(max(softplus(dt[t, i] + dt_bias[i]), dt_min), dt_max)
//   S[n] = exp(d * A[n, i]) * S[n] + d * x[t, c] * B[t, g, n]
//   out[t, c] = (sum_n S[n] * C[t, g, n] + D[c] * x[t, c]) * silu(z[t, c])
// Mamba (Gu and Dao, 2023, arXiv 2312.00752): i is the channel, A [N, channels] = -exp(A_log)^T.
// Mamba 2 (Dao and Gu, 2024, arXiv 2405.21060): i is the head, A [heads], the same for all n.
// Heads share B and C in `groups` (g), heads / groups side by side.
//   x [T, H P], dt [T, H P or H], z [T, H P], B and C [T, G N] f32, each some columns of a value;
//   D [H P], dt_bias [H P or H]; out [T, H P]
//
// State: [H, ceil(P / 16), N, 16], as sixteen channels are computed together. Numerics: one fma for
// S[n], one for the sum over n, which ascends; so the result does not depend on chunking, on other
// rows or on threads.
#pragma once

#include "kernels/sequence_span.h"

namespace genfast {

// Rows of `columns` floats, of which the op's own begin at `data`.
struct Columns {
    const float* data;
    int64_t columns;

    GENFAST_MEMBER_ANYWHERE const float* row(int64_t t) const { return data + t * columns; }
};

struct SelectiveScanArgs {
    Columns x, dt, B, C, z;  // z.data may be null: no gate
    const float* A;
    const float* D;
    const float* dt_bias;  // may be null
    float* out;
    const SequenceSpan* spans;
    int64_t span_count;
    StateSlots state;
    int64_t heads, head_dim, N, groups;  // H, P, N, G
    bool by_channel;                     // whether A and dt are (Mamba), or by head (Mamba 2)
    float dt_min, dt_max;
};

constexpr int64_t kScanLanes = 16;

// Floats of a sequence's state.
static inline int64_t scan_state_floats(int64_t heads, int64_t head_dim, int64_t N) {
    return heads * ((head_dim + kScanLanes - 1) / kScanLanes) * N * kScanLanes;
}

}  // namespace genfast

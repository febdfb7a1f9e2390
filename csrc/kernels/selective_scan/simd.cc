#include "kernels/table.h"
#include "simd/activation.h"

namespace genfast::GENFAST_ISA {

namespace {

// Tokens that one pass over a state takes: it is read and written once for all of them.
constexpr int kTokens = 4;
// Floats of states that go through the tokens together: a part of the innermost cache.
constexpr int64_t kTogether = 2048;

// Sixteen channels of one head of one sequence; `lanes` of them, where the head ends.
struct Block {
    int64_t head, channel, group;
    int lanes;
};

// What one token's channels bring to the pass.
struct Inputs {
    Vec d, x, decay;  // decay: by head; by channel, it differs from n to n
};

template <bool by_channel>
GENFAST_INLINE Inputs inputs_of(const SelectiveScanArgs& a, const Block& b, int64_t t) {
    Inputs in;
    Vec raw = by_channel ? vload_n(a.dt.row(t) + b.channel, b.lanes) : vset(a.dt.row(t)[b.head]);
    if (a.dt_bias)
        raw = vadd(raw,
                   by_channel ? vload_n(a.dt_bias + b.channel, b.lanes) : vset(a.dt_bias[b.head]));
    in.d = vmin(vset(a.dt_max), vmax(vset(a.dt_min), vsoftplus(raw)));  // NaN stays NaN
    in.x = vload_n(a.x.row(t) + b.channel, b.lanes);
    if (!by_channel) in.decay = vexp(vmul(in.d, vset(a.A[b.head])));
    return in;
}

// `count` tokens from t on. old: the state before them, null for zeros; may be `state`.
template <bool by_channel, int count>
GENFAST_INLINE void pass(const SelectiveScanArgs& a, const Block& b, int64_t t, const float* old,
                         float* state) {
    const int64_t channels = a.heads * a.head_dim, N = a.N;
    // Copies: a vector's store could change what `a` points to, for all the compiler knows.
    const float *A = a.A + b.channel, *B[count], *C[count];
    const int lanes = b.lanes;
    Inputs in[count];
    Vec scaled[count], sum[count];
#pragma GCC unroll 4
    for (int i = 0; i < count; ++i) {
        in[i] = inputs_of<by_channel>(a, b, t + i);
        scaled[i] = vmul(in[i].d, in[i].x);
        sum[i] = vzero();
        B[i] = a.B.row(t + i) + b.group * N;
        C[i] = a.C.row(t + i) + b.group * N;
    }
    for (int64_t n = 0; n < N; ++n) {
        Vec s = old ? vload(old + n * kLanes) : vzero();
        Vec rate = by_channel ? vload_n(A + n * channels, lanes) : vzero();
#pragma GCC unroll 4
        for (int i = 0; i < count; ++i) {
            const Vec decay = by_channel ? vexp(vmul(in[i].d, rate)) : in[i].decay;
            s = vfma(decay, s, vmul(scaled[i], vset(B[i][n])));
            sum[i] = vfma(s, vset(C[i][n]), sum[i]);
        }
        vstore(state + n * kLanes, s);
    }
#pragma GCC unroll 4
    for (int i = 0; i < count; ++i) {
        Vec y = vfma(vload_n(a.D + b.channel, b.lanes), in[i].x, sum[i]);
        if (a.z.data) y = vmul(y, vsilu(vload_n(a.z.row(t + i) + b.channel, b.lanes)));
        vstore_n(a.out + (t + i) * channels + b.channel, y, b.lanes);
    }
}

Block block_at(const SelectiveScanArgs& a, int64_t index) {
    const int64_t in_head = (a.head_dim + kLanes - 1) / kLanes;
    const int64_t head = index / in_head, p = index % in_head * kLanes, left = a.head_dim - p;
    return {head, head * a.head_dim + p, head / (a.heads / a.groups),
            int(left < kLanes ? left : kLanes)};
}

// `count` tokens of the blocks from `first` on.
template <bool by_channel, int count>
void tile(const SelectiveScanArgs& a, Range blocks, int64_t t, const float* old, float* state) {
    for (int64_t index = blocks.begin; index < blocks.end; ++index) {
        const int64_t offset = index * a.N * kLanes;
        pass<by_channel, count>(a, block_at(a, index), t, old ? old + offset : nullptr,
                                state + offset);
    }
}

template <bool by_channel>
void scan(const SelectiveScanArgs& a, Range blocks, const SequenceSpan& span) {
    const float* old = a.state.before(span);
    float* state = a.state.after(span);
    int64_t t = span.row, end = span.row + span.rows;
    for (; t + kTokens <= end; t += kTokens, old = state)
        tile<by_channel, kTokens>(a, blocks, t, old, state);
    for (; t < end; ++t, old = state) tile<by_channel, 1>(a, blocks, t, old, state);
}

}  // namespace

void selective_scan(const SelectiveScanArgs& a, Team& team) {
    const int64_t in_head = (a.head_dim + kLanes - 1) / kLanes;
    // Neighbours go together, as their parts of a row lie side by side.
    const int64_t fit = kTogether / (a.N * kLanes), group = fit > 1 ? fit : 1;
    Range mine = share(a.heads * in_head, team);
    for (int64_t i = 0; i < a.span_count; ++i)
        for (int64_t first = mine.begin; first < mine.end; first += group) {
            const int64_t last = first + group;
            const Range blocks{first, last < mine.end ? last : mine.end};
            if (a.by_channel)
                scan<true>(a, blocks, a.spans[i]);
            else
                scan<false>(a, blocks, a.spans[i]);
        }
}

}  // namespace genfast::GENFAST_ISA

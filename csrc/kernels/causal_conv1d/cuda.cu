#include "cuda/activation.h"
#include "kernels/table.h"

namespace genfast::cuda {

// Thread (c, i): channel c of sequence i, token after token. Its last tokens stay in registers, the
// newest at the end.
static __global__ void filter_channels(CausalConv1dArgs a) {
    wait_for_earlier_launches();
    constexpr int kNewest = int(kMaxConvWidth) - 1;
    const int64_t c = global_thread();
    const SequenceSpan span = a.spans[blockIdx.y];
    if (c >= a.C || span.rows == 0) return;
    const float* old = a.state.before(span);
    float x[kMaxConvWidth] = {}, weight[kMaxConvWidth] = {};
    const int unused = int(kMaxConvWidth - a.W);
#pragma unroll
    for (int i = 0; i <= kNewest; ++i) {
        if (i < unused) continue;
        weight[i] = a.weight[(i - unused) * a.C + c];
        if (old && i > unused) x[i] = old[(i - unused - 1) * a.C + c];
    }
    const float bias = a.bias ? a.bias[c] : 0;
    for (int64_t t = span.row; t < span.row + span.rows; ++t) {
#pragma unroll
        for (int i = 0; i < kNewest; ++i) x[i] = x[i + 1];
        x[kNewest] = a.x[t * a.columns + a.first + c];
        float sum = bias;
#pragma unroll
        for (int i = 0; i <= kNewest; ++i)
            if (i >= unused) sum = fmaf(weight[i], x[i], sum);
        a.out[t * a.C + c] = activate(a.activation, sum);
    }
    float* kept = a.state.after(span);
#pragma unroll
    for (int i = 0; i <= kNewest; ++i)
        if (i > unused) kept[(i - unused - 1) * a.C + c] = x[i];
}

void causal_conv1d(const CausalConv1dArgs& a, Team& team) {
    if (team.index != 0) return;
    launch(filter_channels, dim3(blocks_for(a.C).x, unsigned(a.span_count)), kThreads, a);
}

}  // namespace genfast::cuda

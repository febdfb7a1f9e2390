#include "cuda/activation.h"
#include "kernels/table.h"

namespace genfast::cuda {
namespace {

__device__ float softplus(float x) {
    return fmaxf(x, 0) + log1pf(expf(-fabsf(x)));
}

// One token of channel c. old: null for zeros; may be `state`.
__device__ void scan_token(const SelectiveScanArgs& a, int64_t c, int64_t t, const float* old,
                           float* state) {
    const int64_t h = c / a.head_dim, channels = a.heads * a.head_dim;
    const int64_t group = h / (a.heads / a.groups), from = a.by_channel ? c : h;
    const float *B = a.B.row(t) + group * a.N, *C = a.C.row(t) + group * a.N;
    float d = a.dt.row(t)[from];
    if (a.dt_bias) d += a.dt_bias[from];
    d = softplus(d);
    d = d < a.dt_min ? a.dt_min : d > a.dt_max ? a.dt_max : d;  // NaN stays NaN
    const float x = a.x.row(t)[c], scaled = d * x;
    const float decay_of_head = a.by_channel ? 0 : expf(d * a.A[h]);
    float sum = 0;
    for (int64_t n = 0; n < a.N; ++n) {
        const int64_t place = n * kScanLanes;
        const float decay = a.by_channel ? expf(d * a.A[n * channels + c]) : decay_of_head;
        const float now = fmaf(decay, old ? old[place] : 0, scaled * B[n]);
        state[place] = now;
        sum = fmaf(now, C[n], sum);
    }
    float y = fmaf(a.D[c], x, sum);
    if (a.z.data) y *= activate(Activation::silu, a.z.row(t)[c]);
    a.out[t * channels + c] = y;
}

// Thread (c, i): channel c of sequence i, token after token. Sixteen channels' states lie side by
// side.
__global__ void scan_channels(SelectiveScanArgs a) {
    wait_for_earlier_launches();
    const int64_t c = global_thread();
    const SequenceSpan span = a.spans[blockIdx.y];
    if (c >= a.heads * a.head_dim || span.rows == 0) return;
    const int64_t h = c / a.head_dim, p = c % a.head_dim;
    const int64_t blocks = (a.head_dim + kScanLanes - 1) / kScanLanes;
    const int64_t at = (h * blocks + p / kScanLanes) * a.N * kScanLanes + p % kScanLanes;
    const float* old = a.state.before(span);
    float* state = a.state.after(span) + at;
    if (old) old += at;
    for (int64_t t = span.row; t < span.row + span.rows; ++t, old = state)
        scan_token(a, c, t, old, state);
}

}  // namespace

void selective_scan(const SelectiveScanArgs& a, Team& team) {
    const unsigned blocks = blocks_for(a.heads * a.head_dim).x;
    if (team.index == 0) launch(scan_channels, dim3(blocks, unsigned(a.span_count)), kThreads, a);
}

}  // namespace genfast::cuda

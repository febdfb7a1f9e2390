#include "cuda/launch.h"
#include "kernels/table.h"

namespace genfast::cuda {
namespace {

// e^(a - m) and e^(b - m), m the larger of a and b: one of them is e^0.
struct Shares {
    float a, b;
    __device__ Shares(float first, float second) {
        const float smaller = expf(-fabsf(first - second));  // NaN where either is
        a = first < second ? smaller : 1;
        b = first < second ? 1 : smaller;
    }
};

// Thread (c, i): channel c of sequence i, token after token.
__global__ void attend_channels(Wkv4Args a) {
    wait_for_earlier_launches();
    const int64_t c = global_thread();
    const SequenceSpan span = a.spans[blockIdx.y];
    if (c >= a.C || span.rows == 0) return;
    const float* old = a.state.before(span);
    float sum = old ? old[c] : 0, weights = old ? old[a.C + c] : 0;
    float top = old ? old[2 * a.C + c] : kWkvNone;
    for (int64_t t = span.row; t < span.row + span.rows; ++t) {
        const float k = a.k[t * a.C + c], v = a.v[t * a.C + c], faded = top + a.w[c];
        const Shares now(top, k + a.u[c]), next(faded, k);
        a.out[t * a.C + c] = fmaf(now.a, sum, now.b * v) / fmaf(now.a, weights, now.b);
        sum = fmaf(next.a, sum, next.b * v);
        weights = fmaf(next.a, weights, next.b);
        top = faded < k ? k : faded;
    }
    float* kept = a.state.after(span);
    kept[c] = sum;
    kept[a.C + c] = weights;
    kept[2 * a.C + c] = top;
}

}  // namespace

void wkv4(const Wkv4Args& a, Team& team) {
    const unsigned blocks = blocks_for(a.C).x;
    if (team.index == 0) launch(attend_channels, dim3(blocks, unsigned(a.span_count)), kThreads, a);
}

}  // namespace genfast::cuda

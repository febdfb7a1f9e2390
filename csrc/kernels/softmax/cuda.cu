#include "cuda/launch.h"
#include "kernels/table.h"

namespace genfast::cuda {

// A block a row.
static __global__ void softmax_rows(SoftmaxArgs a) {
    wait_for_earlier_launches();
    const float* x = a.x + int64_t(blockIdx.x) * a.V;
    float* out = a.out + int64_t(blockIdx.x) * a.V;
    float largest = -INFINITY, sum = 0;
    for (int64_t v = threadIdx.x; v < a.V; v += kThreads) largest = fmaxf(largest, x[v]);
    largest = block_max(largest);
    for (int64_t v = threadIdx.x; v < a.V; v += kThreads) sum += expf(x[v] - largest);
    sum = block_sum(sum);
    const float log_sum = logf(sum);
    for (int64_t v = threadIdx.x; v < a.V; v += kThreads) {
        const float y = x[v] - largest;
        out[v] = a.log ? y - log_sum : expf(y) / sum;
    }
}

void softmax(const SoftmaxArgs& a, Team& team) {
    if (team.index == 0) launch(softmax_rows, dim3(unsigned(a.T)), kThreads, a);
}

}  // namespace genfast::cuda

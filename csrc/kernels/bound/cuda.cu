#include "cuda/launch.h"
#include "kernels/table.h"

namespace genfast::cuda {

static __global__ void bound_each(BoundArgs a) {
    wait_for_earlier_launches();
    const int64_t i = global_thread();
    if (i >= a.count) return;
    const float x = a.x[i];  // NaN stays NaN
    const float hard = x > a.limit ? a.limit : x < -a.limit ? -a.limit : x;
    a.out[i] = a.soft ? a.limit * tanhf(x / a.limit) : hard;
}

void bound(const BoundArgs& a, Team& team) {
    if (team.index == 0) launch(bound_each, blocks_for(a.count), kThreads, a);
}

}  // namespace genfast::cuda

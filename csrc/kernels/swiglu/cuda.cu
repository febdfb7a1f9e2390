#include "cuda/activation.h"
#include "kernels/table.h"

namespace genfast::cuda {

static __global__ void gate_each(SwigluArgs a) {
    wait_for_earlier_launches();
    const int64_t i = global_thread();
    if (i >= a.T * a.F) return;
    const float* gate = a.x + i / a.F * 2 * a.F + i % a.F;
    a.out[i] = activate_gated(a.kind, gate[0], gate[a.F]);
}

void swiglu(const SwigluArgs& a, Team& team) {
    if (team.index == 0) launch(gate_each, blocks_for(a.T * a.F), kThreads, a);
}

}  // namespace genfast::cuda

#include "cuda/activation.h"
#include "kernels/table.h"

namespace genfast::cuda {

static __global__ void activate_each(ActivationArgs a) {
    wait_for_earlier_launches();
    const int64_t i = global_thread();
    if (i < a.count) a.out[i] = activate(a.kind, a.x[i]);
}

void activation(const ActivationArgs& a, Team& team) {
    if (team.index == 0) launch(activate_each, blocks_for(a.count), kThreads, a);
}

}  // namespace genfast::cuda

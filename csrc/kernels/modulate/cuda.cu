#include "cuda/activation.h"
#include "kernels/table.h"

namespace genfast::cuda {

static __global__ void modulate_each(ModulateArgs a) {
    wait_for_earlier_launches();
    const int64_t at = global_thread(), row = at / a.C;
    if (row >= a.N * a.P) return;
    const int64_t item = row / a.P * a.stride + at % a.C;
    float y = a.x[at];
    if (a.scale) y *= a.plus_one ? 1 + a.scale[item] : a.scale[item];
    if (a.shift) y += a.shift[item];
    if (a.noise) y += a.noise[row % a.P];
    y = activate(a.activation, y);
    a.out[at] = a.residual ? y + a.residual[at] : y;
}

void modulate(const ModulateArgs& a, Team& team) {
    if (team.index == 0) launch(modulate_each, blocks_for(a.N * a.P * a.C), kThreads, a);
}

static __global__ void add_each(AddArgs a) {
    wait_for_earlier_launches();
    const int64_t at = global_thread();
    if (at < a.T * a.C) a.out[at] = a.x[at] + a.y[at % (a.R * a.C)];
}

void add(const AddArgs& a, Team& team) {
    if (team.index == 0) launch(add_each, blocks_for(a.T * a.C), kThreads, a);
}

}  // namespace genfast::cuda

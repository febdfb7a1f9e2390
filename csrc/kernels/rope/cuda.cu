#include "kernels/rope/cuda_turn.h"
#include "kernels/rope/table.h"
#include "kernels/table.h"

namespace genfast::cuda {

static __global__ void fill_angles(RopeTableArgs a) {
    wait_for_earlier_launches();
    const int64_t i = global_thread(), half = a.R / 2, t = i / half;
    if (t < a.T) set_angle(a, t, i % half, dynamic_base(a, a.positions[t]));
}

void rope_table(const RopeTableArgs& a, Team& team) {
    if (team.index == 0) launch(fill_angles, blocks_for(a.T * (a.R / 2)), kThreads, a);
}

static __global__ void turn_columns(RopeArgs a) {
    wait_for_earlier_launches();
    const int64_t i = global_thread(), t = i / a.width;
    if (t < a.T) turn_column(a, t, i % a.width);
}

void rope(const RopeArgs& a, Team& team) {
    if (team.index == 0) launch(turn_columns, blocks_for(a.T * a.width), kThreads, a);
}

}  // namespace genfast::cuda

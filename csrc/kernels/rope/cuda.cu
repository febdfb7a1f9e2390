#include "cuda/launch.h"
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

// A thread a column: of a pair, the first's turns both.
static __global__ void turn_columns(RopeArgs a) {
    wait_for_earlier_launches();
    const int64_t i = global_thread(), t = i / a.width, column = i % a.width;
    if (t >= a.T) return;
    const float* x = a.x + t * a.width;
    float* out = a.out + t * a.width;
    const int64_t d = column % a.D, half = a.R / 2;
    if (column >= a.heads * a.D || d >= a.R) {
        if (a.x != a.out) out[column] = x[column];
        return;
    }
    if (a.interleaved ? d % 2 : d >= half) return;
    const int64_t pair = a.interleaved ? d / 2 : d, other = column + (a.interleaved ? 1 : half);
    const float c = a.table[t * a.R + pair], s = a.table[t * a.R + half + pair];
    const float u = x[column], v = x[other];
    out[column] = u * c - v * s;
    out[other] = v * c + u * s;
}

void rope(const RopeArgs& a, Team& team) {
    if (team.index == 0) launch(turn_columns, blocks_for(a.T * a.width), kThreads, a);
}

}  // namespace genfast::cuda

#include "cuda/launch.h"
#include "kernels/table.h"
#include "quant/unpack.h"

namespace genfast::cuda {

// A thread unpacks 64 columns, as int8's rows are rotated in blocks of so many.
static __global__ void gather_rows(EmbedArgs a) {
    wait_for_earlier_launches();
    const int64_t E = a.table.K, chunks = (E + kRotation - 1) / kRotation;
    const int64_t i = global_thread(), t = i / chunks;
    if (t >= a.T) return;
    const int64_t begin = i % chunks * kRotation;
    const int64_t end = begin + kRotation < E ? begin + kRotation : E;
    float part[kRotation];
    unpack_row(a.table, a.ids[t], begin, end, part);
    for (int64_t e = begin; e < end; ++e) {
        const float y = part[e - begin] * a.scale;
        a.out[t * E + e] = a.residual ? y + a.residual[t * E + e] : y;
    }
}

void embed(const EmbedArgs& a, Team& team) {
    const int64_t chunks = (a.table.K + kRotation - 1) / kRotation;
    if (team.index == 0) launch(gather_rows, blocks_for(a.T * chunks), kThreads, a);
}

}  // namespace genfast::cuda

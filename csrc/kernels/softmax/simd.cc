#include "kernels/table.h"
#include "simd/reduce.h"

namespace genfast::GENFAST_ISA {

void softmax(const SoftmaxArgs& a, Team& team) {
    Range rows = share(a.T, team);
    for (int64_t t = rows.begin; t < rows.end; ++t) {
        const float* x = a.x + t * a.V;
        float* out = a.out + t * a.V;
        Vec max = vset(row_max(x, a.V));
        double sum = block_sum(a.V, [&](int64_t i, int n) {
            Vec e = vexp(vsub(vload_n(x + i, n), max));
            if (!a.log) vstore_n(out + i, e, n);
            return vkeep_n(e, n, vzero());
        });
        Vec scale = vset(float(1 / sum)), log_sum = vset(float(__builtin_log(sum)));
        for (int64_t i = 0; i < a.V; i += kLanes) {
            int n = int(a.V - i < kLanes ? a.V - i : kLanes);
            Vec value = a.log ? vsub(vsub(vload_n(x + i, n), max), log_sum)
                              : vmul(vload_n(out + i, n), scale);
            vstore_n(out + i, value, n);
        }
    }
}

}  // namespace genfast::GENFAST_ISA

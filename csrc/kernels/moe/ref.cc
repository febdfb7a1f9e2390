#include <cmath>
#include <vector>

#include "kernels/activation/formula.h"
#include "kernels/table.h"

namespace genfast::ref {

// Token by token, expert by expert; each product as matmul's reference makes it.
void moe(const MoeArgs& a, Team& team) {
    const int64_t E = a.matrices[0].K, F = a.matrices[1].K;
    std::vector<float> hidden(static_cast<size_t>(F)), result(static_cast<size_t>(E));
    Team alone;
    Range rows = share(a.T, team);
    for (int64_t t = rows.begin; t < rows.end; ++t) {
        std::vector<double> sum(static_cast<size_t>(E));
        for (int64_t e = 0; e < E; ++e) sum[size_t(e)] = a.residual ? a.residual[t * E + e] : 0;
        for (int64_t i = 0; i < a.k; ++i) {
            const float* route = a.routes + t * 2 * a.k + i;
            const int64_t e = int64_t(*route);
            matmul(up_product(a, e, a.x + t * E, 1, hidden.data(), nullptr), alone);
            matmul(down_product(a, e, hidden.data(), 1, result.data(), nullptr), alone);
            for (int64_t e = 0; e < E; ++e)
                sum[size_t(e)] += double(route[a.k]) * result[size_t(e)];
        }
        for (int64_t e = 0; e < E; ++e) a.out[t * E + e] = float(sum[size_t(e)]);
    }
}

size_t moe_scratch_bytes(const MoeArgs&, int) {
    return 0;
}

}  // namespace genfast::ref

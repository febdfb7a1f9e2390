#include "kernels/table.h"

namespace genfast::ref {

// Token by token, head by head; each product as matmul's reference makes it.
void head_matmul(const HeadMatmulArgs& a, Team& team) {
    const int64_t K = a.matrices[0].K, N = a.matrices[0].N;
    Team alone;
    Range rows = share(a.T, team);
    for (int64_t t = rows.begin; t < rows.end; ++t)
        for (int64_t h = 0; h < a.heads; ++h)
            matmul({a.x + t * a.columns + a.first + h * K, a.matrices[h], nullptr, nullptr,
                    a.out + (t * a.heads + h) * N, nullptr, 1, Activation::none},
                   alone);
}

size_t head_matmul_scratch_bytes(const Matrix&, int64_t, int) {
    return 0;
}

}  // namespace genfast::ref

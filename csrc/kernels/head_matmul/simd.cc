#include "kernels/table.h"

namespace genfast::GENFAST_ISA {

static size_t scratch_of_a_thread(const Matrix& w, int64_t M) {
    return (matmul_scratch_bytes(w, M, 1) + 63) / 64 * 64;
}

void head_matmul(const HeadMatmulArgs& a, Team& team) {
    const int64_t K = a.matrices[0].K, N = a.matrices[0].N;
    std::byte* scratch = a.scratch + size_t(team.index) * scratch_of_a_thread(a.matrices[0], a.T);
    Range mine = share(a.heads, team);
    for (int64_t h = mine.begin; h < mine.end; ++h) {
        Team alone;
        MatmulArgs product{a.x + a.first + h * K, a.matrices[h], nullptr, nullptr,
                           a.out + h * N,         scratch,       a.T,     Activation::none};
        product.x_row = a.columns;
        product.out_row = a.heads * N;
        matmul(product, alone);
    }
}

size_t head_matmul_scratch_bytes(const Matrix& w, int64_t M, int threads) {
    return scratch_of_a_thread(w, M) * size_t(threads);
}

}  // namespace genfast::GENFAST_ISA

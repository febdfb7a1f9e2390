#include "cuda/launch.h"
#include "kernels/matmul/cuda_each.h"
#include "kernels/table.h"

namespace genfast::cuda {
namespace {

int64_t tile_rows(int64_t T) {
    return T < kEachRows ? T : kEachRows;
}

// Product i, which has `scratch` bytes: head i mod H of M rows from row i / H * M on.
__global__ void list_heads(HeadMatmulArgs a, MatmulArgs* each, int64_t first, int64_t count,
                           int64_t M, size_t scratch) {
    wait_for_earlier_launches();
    const int64_t at = global_thread(), i = first + at;
    if (at >= count) return;
    const int64_t h = i % a.heads, t = i / a.heads * M, left = a.T - t;
    MatmulArgs product{};
    product.w = a.on_device[h];
    product.x = a.x + t * a.columns + a.first + h * product.w.K;
    product.out = a.out + (t * a.heads + h) * product.w.N;
    product.scratch = a.scratch + at * scratch;
    product.M = left < M ? left : M;
    product.activation = Activation::none;
    product.x_row = a.columns;
    product.out_row = a.heads * product.w.N;
    each[at] = product;
}

}  // namespace

// Scratch: that of the products, then their list.
void head_matmul(const HeadMatmulArgs& a, Team& team) {
    if (team.index != 0) return;
    const Matrix& w = a.matrices[0];
    const int64_t M = tile_rows(a.T), all = (a.T + M - 1) / M * a.heads;
    const size_t scratch = each_scratch_bytes(w, M);
    auto* each = reinterpret_cast<MatmulArgs*>(a.scratch + kEachAtOnce * scratch);
    for (int64_t first = 0; first < all; first += kEachAtOnce) {
        const int64_t count = all - first < kEachAtOnce ? all - first : kEachAtOnce;
        launch(list_heads, blocks_for(count), kThreads, a, each, first, count, M, scratch);
        matmul_each(w, each, count, M);
    }
}

size_t head_matmul_scratch_bytes(const Matrix& w, int64_t M, int) {
    return kEachAtOnce * (each_scratch_bytes(w, tile_rows(M)) + sizeof(MatmulArgs));
}

}  // namespace genfast::cuda

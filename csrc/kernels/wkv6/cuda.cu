#include "kernels/cuda_wkv_head.h"
#include "kernels/table.h"

namespace genfast::cuda {
namespace {

__global__ void attend_heads6(Wkv6Args a) {
    wait_for_earlier_launches();
    __shared__ float r[kMaxWkvHead], k[kMaxWkvHead], decay[kMaxWkvHead];
    const int64_t D = a.D, head = blockIdx.x * D;
    each_wkv_token(a, [&](int64_t t, const float* old, float* state) {
        const int64_t row = t * a.heads * D + head;
        float bonus = 0, y[kWkvOwned];  // bonus: what the token's own values count for in y
        each_owned(D, [&](int64_t i, int) {
            r[i] = a.r[row + i];
            k[i] = a.k[row + i];
            decay[i] = expf(-expf(a.w[t * a.w_stride + head + i]));
            bonus = fmaf(r[i] * a.u[head + i], k[i], bonus);
        });
        bonus = block_sum(bonus);  // and the keys are there
        each_owned(D, [&](int64_t j, int own) {
            const float v = a.v[row + j];
            float sum = bonus * v;
            for (int64_t i = 0; i < D; ++i) {
                const int64_t place = wkv_place(D, j) + i * kWkvLanes;
                const float before = old ? old[place] : 0;
                sum = fmaf(r[i], before, sum);
                state[place] = fmaf(decay[i], before, k[i] * v);
            }
            y[own] = sum;
        });
        norm_head(y, D, a.eps);
        each_owned(D, [&](int64_t j, int own) {
            a.out[row + j] = fmaf(y[own], a.weight[head + j], a.bias[head + j]) * a.g[row + j];
        });
    });
}

}  // namespace

void wkv6(const Wkv6Args& a, Team& team) {
    const dim3 grid(unsigned(a.heads), unsigned(a.span_count));
    if (team.index == 0) launch(attend_heads6, grid, kThreads, a);
}

}  // namespace genfast::cuda

#include "cuda/activation.h"
#include "kernels/cuda_wkv_head.h"
#include "kernels/table.h"

namespace genfast::cuda {
namespace {

// What the block's threads read of each other, by key.
struct Keys {
    float r[kMaxWkvHead], decay[kMaxWkvHead], removed[kMaxWkvHead], added[kMaxWkvHead],
        key[kMaxWkvHead];
};

__device__ float logistic(float x) {
    return activate(Activation::sigmoid, x);
}

// The keys of a token at `row`; returns the weight of its own values.
__device__ float fill_keys(const Wkv7Args& a, int64_t row, int64_t head, Keys& keys) {
    float squares = 0, bonus = 0, q[kWkvOwned];
    each_owned(a.D, [&](int64_t i, int own) {
        const float k = a.k[row + i], rate = logistic(a.a[row + i]);
        q[own] = k * a.k_k[head + i];
        squares = fmaf(q[own], q[own], squares);
        keys.r[i] = a.r[row + i];
        keys.decay[i] = expf(-kWkvSlowest * logistic(a.w[row + i]));
        keys.added[i] = rate;
        keys.key[i] = k * fmaf(rate - 1, a.k_a[head + i], 1);
        bonus = fmaf(keys.r[i] * keys.key[i], a.r_k[head + i], bonus);
    });
    const float length = fmaxf(sqrtf(block_sum(squares)), 1e-12f);
    each_owned(a.D, [&](int64_t i, int own) {
        keys.removed[i] = -q[own] / length;
        keys.added[i] *= q[own] / length;
    });
    return block_sum(bonus);  // and the keys are there
}

__device__ float value_at(const Wkv7Args& a, int64_t at) {
    const float v = a.v[at];
    return a.m ? fmaf(a.v_first[at] - v, logistic(a.m[at]), v) : v;
}

__global__ void attend_heads7(Wkv7Args a) {
    wait_for_earlier_launches();
    __shared__ Keys keys;
    const int64_t D = a.D, head = blockIdx.x * D;
    each_wkv_token(a, [&](int64_t t, const float* old, float* state) {
        const int64_t row = t * a.heads * D + head;
        const float bonus = fill_keys(a, row, head, keys);
        float y[kWkvOwned];
        each_owned(D, [&](int64_t j, int own) {
            const float u = value_at(a, row + j);
            float removed = 0, sum = 0;
            for (int64_t i = 0; old && i < D; ++i)
                removed = fmaf(old[wkv_place(D, j) + i * kWkvLanes], keys.removed[i], removed);
            for (int64_t i = 0; i < D; ++i) {
                const int64_t place = wkv_place(D, j) + i * kWkvLanes;
                const float added = fmaf(keys.added[i], removed, keys.key[i] * u);
                const float now = fmaf(keys.decay[i], old ? old[place] : 0, added);
                state[place] = now;
                sum = fmaf(now, keys.r[i], sum);
            }
            y[own] = sum;
        });
        norm_head(y, D, a.eps);
        each_owned(D, [&](int64_t j, int own) {
            const float shaped = fmaf(y[own], a.weight[head + j], a.bias[head + j]);
            a.out[row + j] = fmaf(bonus, value_at(a, row + j), shaped) * a.g[row + j];
        });
    });
}

}  // namespace

void wkv7(const Wkv7Args& a, Team& team) {
    const dim3 grid(unsigned(a.heads), unsigned(a.span_count));
    if (team.index == 0) launch(attend_heads7, grid, kThreads, a);
}

}  // namespace genfast::cuda

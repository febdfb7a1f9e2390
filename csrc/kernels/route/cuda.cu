// A block a token. Experts are chosen one after the other, each by all threads.
#include "cuda/launch.h"
#include "kernels/table.h"

namespace genfast::cuda {
namespace {

struct Best {
    float merit;
    int expert;  // -1: none

    // The larger merit, of equals the first expert.
    __device__ void meet(const Best& other) {
        const bool wins =
            expert < 0 || other.merit > merit || (other.merit == merit && other.expert < expert);
        if (other.expert >= 0 && wins) *this = other;
    }
};

// The first of the largest merits that are not used, for every thread.
__device__ Best block_best(const float* merit, const bool* used, int64_t n) {
    __shared__ Best of_warps[kWarps];
    Best best{0, -1};
    for (int64_t i = threadIdx.x; i < n; i += kThreads)
        if (!used[i]) best.meet({merit[i], int(i)});
    for (int distance = kWarp / 2; distance > 0; distance /= 2)
        best.meet({__shfl_xor_sync(~0u, best.merit, distance),
                   __shfl_xor_sync(~0u, best.expert, distance)});
    if (lane() == 0) of_warps[warp()] = best;
    __syncthreads();
    best = of_warps[0];
    for (int i = 1; i < kWarps; ++i) best.meet(of_warps[i]);
    __syncthreads();  // of_warps may be written again
    return best;
}

// The two largest of x [n], added; or the largest.
__device__ float worth_of(const float* x, int64_t n, bool two) {
    float first = x[0], second = -INFINITY;
    for (int64_t i = 1; i < n; ++i) {
        const float smaller = x[i] > first ? first : x[i];
        if (x[i] > first) first = x[i];
        if (smaller > second) second = smaller;
    }
    return two && n > 1 ? first + second : first;
}

// Marks the experts of all but the kept groups.
__device__ void drop_groups(const RouteArgs& a, const float* merit, bool* used) {
    __shared__ float worth[kMaxExperts];
    __shared__ bool kept[kMaxExperts];
    const int64_t size = a.experts / a.groups;
    for (int64_t g = threadIdx.x; g < a.groups; g += kThreads) {
        worth[g] = worth_of(merit + g * size, size, a.bias != nullptr);
        kept[g] = false;
    }
    __syncthreads();
    for (int64_t i = 0; i < a.kept_groups; ++i) {
        const Best best = block_best(worth, kept, a.groups);
        if (threadIdx.x == 0) kept[best.expert] = true;
        __syncthreads();
    }
    for (int64_t e = threadIdx.x; e < a.experts; e += kThreads) used[e] = !kept[e / size];
    __syncthreads();
}

__global__ void route_tokens(RouteArgs a) {
    wait_for_earlier_launches();
    __shared__ float score[kMaxExperts], merit[kMaxExperts];
    __shared__ bool used[kMaxExperts];
    __shared__ int chosen[kMaxExperts], sorted[kMaxExperts];
    const float* logits = a.logits + int64_t(blockIdx.x) * a.experts;
    float* out = a.out + int64_t(blockIdx.x) * 2 * a.k;

    float largest = -INFINITY, sum = 0;
    for (int64_t e = threadIdx.x; e < a.experts; e += kThreads) largest = fmaxf(largest, logits[e]);
    largest = block_max(largest);
    for (int64_t e = threadIdx.x; e < a.experts; e += kThreads) {
        score[e] =
            a.scoring == Scoring::sigmoid ? 1 / (1 + expf(-logits[e])) : expf(logits[e] - largest);
        sum += score[e];
    }
    sum = block_sum(sum);
    const bool of_chosen = a.scoring == Scoring::softmax_of_chosen;
    for (int64_t e = threadIdx.x; e < a.experts; e += kThreads) {
        if (a.scoring == Scoring::softmax) score[e] /= sum;
        merit[e] = (of_chosen ? logits[e] : score[e]) + (a.bias ? a.bias[e] : 0);
        used[e] = false;
    }
    __syncthreads();
    if (a.groups > 1) drop_groups(a, merit, used);
    for (int64_t i = 0; i < a.k; ++i) {
        const Best best = block_best(merit, used, a.experts);
        if (threadIdx.x == 0) {
            chosen[i] = best.expert;
            used[best.expert] = true;
        }
        __syncthreads();
    }

    for (int64_t i = threadIdx.x; i < a.k; i += kThreads) {
        int place = 0;
        for (int64_t j = 0; j < a.k; ++j) place += chosen[j] < chosen[i];
        sorted[place] = chosen[i];
    }
    __syncthreads();
    float total = 0;
    for (int64_t i = 0; i < a.k; ++i) total += score[sorted[i]];
    const float factor = a.renormalise || of_chosen ? a.scale / total : a.scale;
    for (int64_t i = threadIdx.x; i < a.k; i += kThreads) {
        out[i] = float(sorted[i]);
        out[a.k + i] = score[sorted[i]] * factor;
    }
}

}  // namespace

void route(const RouteArgs& a, Team& team) {
    if (team.index == 0) launch(route_tokens, dim3(unsigned(a.T)), kThreads, a);
}

}  // namespace genfast::cuda

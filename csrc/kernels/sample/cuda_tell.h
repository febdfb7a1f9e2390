// What is told of a row: logprobs of the token drawn and of the likeliest, which are found as top_k
// finds them, how sure the distribution is.
//
// Each part's sums are of its own threads' doubles, and parts are added in ascending order: the
// same bits in any step. They are not the CPU's, whose sums have another order.
#pragma once

#include "kernels/sample/cuda_choose.h"

namespace genfast::cuda {

// A draw among those that are told: two at least, as the margin needs them.
__device__ inline RowDraw likeliest(const RowDraw& row) {
    RowDraw how;
    if (row.way == Way::none || row.told < 0) return how;
    how.way = Way::top_k;
    how.top_k = row.told > 2 ? row.told : 2;
    return how;
}

// Of a part: the weights 2^z, and these times z = (logit - max) / ln 2. As on the CPU, whatever is
// below 2^-126 of the largest, and NaN, counts as that: nothing beside the largest's 1.
__device__ inline void add_up(const float* logits, int64_t numbers, float max, double* sums) {
    double weights = 0, entropy = 0;
    for (int64_t i = threadIdx.x; i < numbers; i += kThreads) {
        const float z = vmax((logits[i] - max) * 1.44269504f, -126);
        const float weight = vexp2_within(z);
        weights += weight;
        entropy += weight * z;
    }
    auto add = [](double a, double b) { return a + b; };
    weights = over_threads<kThreads>(weights, add);
    entropy = over_threads<kThreads>(entropy, add);
    if (threadIdx.x > 0) return;
    sums[0] = weights;
    sums[1] = entropy;
}

struct Teller {
    const RowState& state;
    float max;
    int64_t parts;

    // By a block of kChoosers. False: more tokens than the list holds may be among the likeliest.
    __device__ bool tell(int32_t count, float drawn, ToldRow& to) const {
        if (state.listed > kListed) return false;
        double sums[2] = {};
        for (int64_t i = 0; i < parts; ++i)
            for (int j = 0; j < 2; ++j) sums[j] += state.sums[i][j];
        const double log_sum = log(sums[0]);
        auto logprob = [&](float logit) { return double(logit) - max - log_sum; };
        __shared__ double first[2];  // probabilities of the two likeliest
        if (threadIdx.x < 2) first[threadIdx.x] = 0;
        Token tokens[kEach];
        load_tokens(state, tokens, [](const Token&) { return uint64_t(0); });
        for (const Token& token : tokens) {
            if (!token.candidate) continue;
            const double told = logprob(candidate_value(token.candidate));
            if (token.rank < 2) first[token.rank] = exp(told);
            if (token.rank >= count) continue;
            to.ids[token.rank] = candidate_index(token.candidate);
            to.logprobs[token.rank] = float(told);
        }
        __syncthreads();
        if (threadIdx.x > 0) return true;
        to.logprob = float(logprob(drawn));
        to.entropy = float(log_sum - sums[1] / sums[0] * 0.69314718055994531);
        to.margin = float(first[0] - first[1]);
        to.count = int(state.listed) < count ? int(state.listed) : count;
        return true;
    }
};

}  // namespace genfast::cuda

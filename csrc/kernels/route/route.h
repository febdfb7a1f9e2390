// route: which experts each token goes to, and how much each of them counts
//   logits [T, X] f32; bias [X] f32; out [T, 2k] f32: k numbers of experts, ascending, then their
//   weights
//
// An expert's score is its softmax over all of them, or its sigmoid. The k with the largest score +
// bias are chosen, the first of equals; with groups, first the groups count: by their largest (or,
// with a bias, by the sum of their two largest), and only experts of the kept ones are chosen
// (DeepSeek-V2 and V3, 2024, arXiv 2405.04434 and 2412.19437). Weights are the scores without bias,
// or the softmax of the chosen logits; renormalise: divided by their sum; then times scale.
#pragma once

#include <cstdint>

namespace genfast {

constexpr int64_t kMaxExperts = 1024;

enum class Scoring : uint8_t { softmax, softmax_of_chosen, sigmoid };

struct RouteArgs {
    const float* logits;
    const float* bias;  // may be null
    float* out;
    int64_t T, experts, k;
    int64_t groups, kept_groups;
    float scale;
    Scoring scoring;
    bool renormalise;
};

}  // namespace genfast

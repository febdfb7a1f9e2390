#include "engine/sampling/token_logprobs.h"

#include <algorithm>

namespace genfast {

TokenLogprobs token_logprobs(const float* logits, int64_t vocabulary, int32_t token, int64_t top,
                             const Kernels& kernels, std::byte* scratch) {
    TokenLogprobs result;
    top = std::min(top, vocabulary);
    std::vector<int32_t> ids(static_cast<size_t>(top));
    std::vector<float> values(static_cast<size_t>(top));
    LogprobsArgs args{};
    args.logits = logits;
    args.scratch = scratch;
    args.token_logprob = &result.logprob;
    args.entropy = &result.entropy;
    args.margin = &result.margin;
    args.top_ids = ids.data();
    args.top_logprobs = values.data();
    args.V = vocabulary;
    args.top_n = top;
    args.token = token;
    Team alone;
    kernels.logprobs(args, alone);
    for (size_t i = 0; i < ids.size() && ids[i] >= 0; ++i)
        result.top.push_back({ids[i], values[i]});
    return result;
}

TokenLogprobs token_logprobs(const ToldRow& told) {
    TokenLogprobs result{told.logprob, told.entropy, told.margin, {}};
    for (int32_t i = 0; i < told.count; ++i) result.top.push_back({told.ids[i], told.logprobs[i]});
    return result;
}

}  // namespace genfast

#include "engine/sampler.h"

#include <algorithm>
#include <limits>

#include "core/random.h"

namespace genfast {

size_t sampler_scratch_bytes(int64_t vocabulary) {
    return std::max(sample_scratch_bytes(vocabulary), logprobs_scratch_bytes(vocabulary));
}

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

Sampler::Sampler(const SamplingParams& params, const std::vector<int32_t>& prompt)
    : params_(params) {
    if (params_.repetition_penalty != 1)
        for (int32_t token : prompt) seen_.emplace(token, 0);
}

void Sampler::accept(int32_t token) {
    ++generated_;
    if (params_.repetition_penalty != 1 || params_.presence_penalty != 0 ||
        params_.frequency_penalty != 0)
        ++seen_[token];
}

void Sampler::edit(float* logits, int64_t vocabulary) const {
    for (auto [token, bias] : params_.logit_bias)
        if (token >= 0 && token < vocabulary) logits[token] += bias;
    // Each token is edited on its own, so the order of the map does not matter.
    for (auto [token, count] : seen_) {
        float& logit = logits[token];
        if (params_.repetition_penalty != 1)
            logit =
                logit > 0 ? logit / params_.repetition_penalty : logit * params_.repetition_penalty;
        if (count > 0) logit -= params_.presence_penalty + params_.frequency_penalty * float(count);
    }
    if (generated_ < params_.min_tokens)
        for (int32_t token : params_.stop_ids)
            if (token >= 0 && token < vocabulary)
                logits[token] = -std::numeric_limits<float>::infinity();
}

int32_t Sampler::next(float* logits, int64_t vocabulary, int64_t position, const Kernels& kernels,
                      std::byte* scratch, TokenLogprobs* logprobs) {
    // The edits touch few logits, but the logprobs are of the unedited ones and need the token that
    // comes out of the edited ones: keep what changes and put it back.
    std::vector<std::pair<int32_t, float>> before;
    bool wants = params_.logprobs >= 0 && logprobs;
    if (wants) {
        auto keep = [&](int32_t token) {
            if (token >= 0 && token < vocabulary) before.push_back({token, logits[token]});
        };
        for (auto [token, bias] : params_.logit_bias) keep(token);
        for (auto [token, count] : seen_) keep(token);
        for (int32_t token : params_.stop_ids) keep(token);
    }
    edit(logits, vocabulary);
    int32_t token = -1;
    SampleArgs args{};
    args.logits = logits;
    args.scratch = scratch;
    args.token = &token;
    args.V = vocabulary;
    args.temperature = params_.temperature;
    args.top_k = std::min(params_.top_k, vocabulary);
    args.top_p = params_.top_p;
    args.min_p = params_.min_p;
    args.draw = uniform(params_.seed, params_.stream, uint64_t(position));
    Team alone;
    kernels.sample(args, alone);
    if (wants && token >= 0) {
        for (auto [id, value] : before) logits[id] = value;
        *logprobs = token_logprobs(logits, vocabulary, token, params_.logprobs, kernels, scratch);
    }
    return token;
}

}  // namespace genfast

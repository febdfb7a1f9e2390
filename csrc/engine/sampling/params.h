// What a request asks of its sampler. Names and defaults are those of genfast.Sampling, which
// documents and checks them.
#pragma once

#include <cstdint>
#include <utility>
#include <vector>

namespace genfast {

struct SamplingParams {
    // A token at one place of the output; 0 is the first.
    using Placed = std::pair<int64_t, int32_t>;

    // ---- edits of the logits
    std::vector<std::pair<int32_t, float>> logit_bias;
    float repetition_penalty = 1, presence_penalty = 0, frequency_penalty = 0;
    float dry_multiplier = 0, dry_base = 1.75f;  // 0: off
    int64_t dry_allowed_length = 2;
    std::vector<int32_t> dry_breakers;
    int64_t no_repeat_ngram_size = 0;             // 0: off
    std::vector<std::vector<int32_t>> bad_words;  // sequences that must not be completed
    int64_t min_tokens = 0;
    std::vector<int32_t> stop_ids;
    std::vector<Placed> forced;       // of several at one place, one of these
    std::vector<int32_t> suppress;    // everywhere
    std::vector<Placed> suppress_at;  // there alone

    // ---- what is drawn from
    float temperature = 0;  // 0: greedy
    float top_n_sigma = 0;  // 0: all
    int64_t top_k = 0;      // 0: all
    float top_p = 1, min_p = 0, typical_p = 1;
    float xtc_probability = 0, xtc_threshold = 0.1f;
    float mirostat_tau = 0, mirostat_eta = 0.1f;  // tau 0: off
    uint64_t seed = 0, stream = 0;

    int64_t logprobs = -1;  // -1: none; k: of the chosen token and the k most likely
};

}  // namespace genfast

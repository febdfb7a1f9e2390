// Tokens that must not come next, and those that must: Hugging Face's NoRepeatNGram, NoBadWords,
// MinNewTokensLength, Forced*Token and SuppressTokens* processors, in that order.
#pragma once

#include "engine/sampling/params.h"
#include "engine/sampling/suffix_matches.h"

namespace genfast {

class Bans {
  public:
    Bans(const SamplingParams& params, const std::vector<int32_t>& prompt);

    bool active() const { return active_; }
    void accept(int32_t token);
    void edit(float* logits, int64_t vocabulary) const;

  private:
    struct Row {
        float* logits;
        int64_t vocabulary;
        void set(int32_t token, float value) const {
            if (token >= 0 && token < vocabulary) logits[token] = value;
        }
    };
    void ban_repeated_ngrams(const Row& row) const;
    void ban_words(const Row& row) const;
    void force(const Row& row) const;

    // Of SamplingParams.
    int64_t ngram_size_, min_tokens_;
    std::vector<std::vector<int32_t>> words_;
    std::vector<int32_t> stop_ids_, suppress_;
    std::vector<SamplingParams::Placed> forced_, suppress_at_;
    bool active_;

    SuffixMatches repeats_;  // with no_repeat_ngram_size alone
    std::vector<int32_t>
        tail_;  // the last tokens, as many as the longest bad word has before its end
    size_t tail_length_ = 0;
    int64_t generated_ = 0;
};

}  // namespace genfast

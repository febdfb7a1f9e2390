// DRY ("don't repeat yourself", p-e-w's): a token that would continue a repetition of at least
// allowed_length tokens loses multiplier * base^(length - allowed_length). As in llama.cpp, a
// repetition does not go over a breaker, and a breaker loses nothing.
#pragma once

#include "engine/sampling/params.h"
#include "engine/sampling/suffix_matches.h"

namespace genfast {

class Dry {
  public:
    Dry(const SamplingParams& params, const std::vector<int32_t>& prompt);

    bool active() const { return multiplier_ > 0; }
    void accept(int32_t token);
    void edit(float* logits) const;

  private:
    float multiplier_, base_;
    int64_t allowed_length_;
    SuffixMatches repeats_;
};

}  // namespace genfast

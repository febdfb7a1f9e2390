// Penalties on tokens that were there before, each token on its own.
//
// Repetition (prompt and output, once a token): Keskar et al., 2019 (arXiv 1909.05858), as in
// Hugging Face. Presence and frequency (output alone) as OpenAI's API has them.
#pragma once

#include <cstdint>
#include <unordered_map>
#include <vector>

#include "engine/sampling/params.h"

namespace genfast {

class Penalties {
  public:
    Penalties(const SamplingParams& params, const std::vector<int32_t>& prompt);

    bool active() const { return repetition_ != 1 || presence_ != 0 || frequency_ != 0; }
    void accept(int32_t token);
    void edit(float* logits) const;

  private:
    float repetition_, presence_, frequency_;
    std::unordered_map<int32_t, int32_t> seen_;  // token -> times in the output; 0: prompt only
};

}  // namespace genfast

// How a request's next token is chosen: the edits of the logits, then the `sample` kernel.
//
// Order: logit bias; repetition penalty (prompt and output, once a token: Keskar et al., 2019,
// arXiv 1909.05858, as in Hugging Face); presence and frequency penalties (output only, as OpenAI's
// API has them); no stop id before min_tokens; then temperature, top-k, top-p, min-p and the draw.
// A draw is a function of (seed, stream, position): it depends on nothing else that runs.
#pragma once

#include <cstdint>
#include <unordered_map>
#include <utility>
#include <vector>

#include "kernels/table.h"

namespace genfast {

struct SamplingParams {
    float temperature = 0;  // 0: greedy
    int64_t top_k = 0;      // 0: all
    float top_p = 1, min_p = 0;
    float repetition_penalty = 1, presence_penalty = 0, frequency_penalty = 0;
    std::vector<std::pair<int32_t, float>> logit_bias;
    uint64_t seed = 0, stream = 0;
    int64_t min_tokens = 0;
    std::vector<int32_t> stop_ids;
    int64_t logprobs = -1;  // -1: none; k: of the chosen token and the k most likely
};

struct TokenLogprobs {
    float logprob = 0;                           // of the token that was chosen
    std::vector<std::pair<int32_t, float>> top;  // the most likely ones, best first
};

// Scratch for everything below, one buffer a thread.
size_t sampler_scratch_bytes(int64_t vocabulary);

// Log-softmax of `token` and of the `top` most likely tokens.
TokenLogprobs token_logprobs(const float* logits, int64_t vocabulary, int32_t token, int64_t top,
                             const Kernels& kernels, std::byte* scratch);

class Sampler {
  public:
    Sampler(const SamplingParams& params, const std::vector<int32_t>& prompt);

    // The token at `position` of the sequence, or -1 when no logit is a finite number. Edits the
    // logits in place. *logprobs (when params ask for them) is of the model's own distribution:
    // taken before any edit.
    int32_t next(float* logits, int64_t vocabulary, int64_t position, const Kernels& kernels,
                 std::byte* scratch, TokenLogprobs* logprobs);
    void accept(int32_t token);  // the token is part of the output from now on

  private:
    void edit(float* logits, int64_t vocabulary) const;

    SamplingParams params_;
    std::unordered_map<int32_t, int32_t> seen_;  // token -> times in the output; 0: prompt only
    int64_t generated_ = 0;
};

}  // namespace genfast

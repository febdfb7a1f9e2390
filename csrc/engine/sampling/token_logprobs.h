// How likely a token was, how likely others were, and how sure the model was of it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

#include "kernels/sample/draw_rows.h"
#include "kernels/table.h"

namespace genfast {

struct TokenLogprobs {
    float logprob = 0;                           // of the token that was chosen
    float entropy = 0;                           // of the distribution, in nats
    float margin = 0;                            // the largest probability less the second
    std::vector<std::pair<int32_t, float>> top;  // the most likely ones, best first
};

// Of softmax(logits): of `token`, and the `top` most likely tokens. scratch:
// logprobs_scratch_bytes.
TokenLogprobs token_logprobs(const float* logits, int64_t vocabulary, int32_t token, int64_t top,
                             const Kernels& kernels, std::byte* scratch);
TokenLogprobs token_logprobs(const ToldRow& told);  // by a GPU

}  // namespace genfast

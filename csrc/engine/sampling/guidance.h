// Classifier-free guidance: what a prompt makes likelier than another one does, more so.
//
// Ho and Salimans, 2022 (arXiv 2207.12598), of text Sanchez et al., 2023 (arXiv 2306.17806):
// logits = negative + scale · (logits - negative). The two continue alike.
#pragma once

#include <cstdint>
#include <vector>

namespace genfast {

struct Guidance {
    float scale = 1;
    std::vector<int32_t> negative_prompt;  // empty: no guidance
};

static inline void guide(float* logits, const float* negative, int64_t vocabulary, float scale) {
    for (int64_t i = 0; i < vocabulary; ++i)
        logits[i] = negative[i] + scale * (logits[i] - negative[i]);
}

}  // namespace genfast

// sample: draws a token from logits
//   temperature 0: the largest logit, ties to the lower id. Otherwise softmax(logits /
//   temperature), kept to the top_k largest (0: all), then to the smallest set whose probability
//   reaches top_p (1: all), then to those with at least min_p times the largest probability (0:
//   all) - each renormalised, in the order of Hugging Face's warpers; then the token where the
//   cumulated probability, largest first (ties: lower id first), exceeds `draw`. logits [V] f32;
//   draw uniform in [0, 1) Equal logits are told apart by their ids everywhere: exactly top_k
//   tokens are kept, and top_k 1 is greedy. (Hugging Face keeps all that tie with the last.) At
//   least one token is always kept. NaN and -infinity are never drawn; where there is nothing else,
//   the token is -1. +infinity always is (the first, when there are several). One thread works (the
//   first of the team): a token takes less time than waking the others.
// Holtzman et al., 2019 (arXiv 1904.09751) for top-p; Nguyen et al., 2024 (arXiv 2407.01082) for
// min-p.
#pragma once

#include <cstddef>
#include <cstdint>

namespace genfast {

struct SampleArgs {
    const float* logits;
    std::byte* scratch;  // sample_scratch_bytes(V), 64-byte aligned
    int32_t* token;      // out
    int64_t V;
    float temperature;  // finite, >= 0
    int64_t top_k;      // >= 0
    float top_p;        // > 0
    float min_p;        // 0 to 1
    double draw;
};

static inline size_t sample_scratch_bytes(int64_t v) {
    return size_t(v) * 29 + 32768;
}

}  // namespace genfast

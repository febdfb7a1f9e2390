// truncate: leaves of a row of logits what may be drawn; everything else becomes -infinity
//   Filters, in this order, each on what the one before left (Hugging Face's order where it has
//   them; p: the probabilities softmax(logits / temperature) of what is left):
//   top_n_sigma  logits of at least max - n standard deviations of all logits above -infinity
//   top_k        the k largest
//   top_p        the smallest set, largest first, whose probability reaches top_p
//   min_p        what has at least min_p times the largest probability
//   typical_p    the smallest set, nearest first, whose probability reaches typical_p; near is how
//                little -ln p differs from the entropy; what ties with the last stays
//   xtc          of the tokens with p >= xtc_threshold, where these are two or more, only the last
//   max_bits     what has -log2 p <= max_bits, and the largest in any case (Mirostat's cut)
//   logits [V] f32, in place. Equal logits are told apart by their ids, lower first. At least one
//   token is left; NaN never is; of several +infinity the first alone is; kept = 0 where there is
//   nothing else. What is less likely than 2^-125 of the largest may be dropped: it is never drawn.
//   One thread works (the first of the team).
// Hewitt et al., 2022 (arXiv 2210.15191, on truncation); Meister et al., 2022 (arXiv 2202.00666)
// for typical_p; Tang et al., 2024 (arXiv 2411.07641) for top_n_sigma; Basu et al., 2020 (arXiv
// 2007.14966) for Mirostat. XTC is p-e-w's, as llama.cpp has it.
#pragma once

#include <cstddef>
#include <cstdint>

namespace genfast {

struct TruncateArgs {
    float* logits;
    std::byte* scratch;  // truncate_scratch_bytes(V), 64-byte aligned
    int64_t* kept;       // out: how many are left
    double* log_sum;     // out: ln sum of e^(logit / temperature) over these
    int64_t V;
    float temperature;    // finite, > 0
    float top_n_sigma;    // 0: all
    int64_t top_k;        // 0: all
    float top_p;          // 1: all
    float min_p;          // 0: all
    float typical_p;      // 1: all
    float xtc_threshold;  // above 0.5: all
    double max_bits;      // infinity: all
};

static inline size_t truncate_scratch_bytes(int64_t v) {
    return size_t(v) * 37 + 32768;
}

}  // namespace genfast

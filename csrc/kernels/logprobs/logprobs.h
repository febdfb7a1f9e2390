// logprobs: the log-probability of one token, the most probable tokens with theirs, and how sure
// the distribution is
//   logits [V] f32; log softmax(logits)[v] = logits[v] - max - ln(sum(exp(logits - max)))
//   token_logprob: of `token`.  top_ids, top_logprobs [top_n]: largest first, ties to the lower id;
//   slots beyond the number of logits above -infinity get the id -1 and -infinity.  entropy: -sum p
//   ln p, in nats.  margin: the largest probability less the second (0 where there is none). NaN
//   logits count as -infinity. One thread works (the first of the team).
//   all [V]: log softmax of every logit, each rounded once more than those above.
//   normalised: the logits are log-probabilities that somebody edited; they are told as they are,
//   without entropy and margin.
#pragma once

#include <cstddef>
#include <cstdint>

namespace genfast {

struct LogprobsArgs {
    const float* logits;
    std::byte* scratch;    // logprobs_scratch_bytes(V), 64-byte aligned
    float* token_logprob;  // out; this and the next two may be null
    float* entropy;        // out
    float* margin;         // out
    int32_t* top_ids;      // out
    float* top_logprobs;   // out
    int64_t V, top_n;      // 0 <= top_n <= V
    int32_t token;         // 0 <= token < V
    float* all = nullptr;  // out; may be null, may be the logits
    bool normalised = false;
};

static inline size_t logprobs_scratch_bytes(int64_t v) {
    return size_t(v) * 17 + 4096;
}

}  // namespace genfast

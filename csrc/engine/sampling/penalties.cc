#include "engine/sampling/penalties.h"

namespace genfast {

Penalties::Penalties(const SamplingParams& params, const std::vector<int32_t>& prompt)
    : repetition_(params.repetition_penalty),
      presence_(params.presence_penalty),
      frequency_(params.frequency_penalty) {
    if (repetition_ != 1)
        for (int32_t token : prompt) seen_.emplace(token, 0);
}

void Penalties::accept(int32_t token) {
    if (active()) ++seen_[token];
}

void Penalties::edit(float* logits) const {
    // Each token is edited on its own, so the order of the map does not matter.
    for (auto [token, count] : seen_) {
        float& logit = logits[token];
        if (repetition_ != 1) logit = logit > 0 ? logit / repetition_ : logit * repetition_;
        if (count > 0) logit -= presence_ + frequency_ * float(count);
    }
}

}  // namespace genfast

#include "engine/sampling/dry.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace genfast {

Dry::Dry(const SamplingParams& params, const std::vector<int32_t>& prompt)
    : multiplier_(params.dry_multiplier),
      base_(params.dry_base),
      allowed_length_(params.dry_allowed_length),
      repeats_(active() ? params.dry_breakers : std::vector<int32_t>{}) {
    for (int32_t token : prompt) accept(token);
}

void Dry::accept(int32_t token) {
    if (active()) repeats_.accept(token);
}

void Dry::edit(float* logits) const {
    // The longest repetition that a token would continue counts.
    std::unordered_map<int32_t, int64_t> longest;
    for (const SuffixMatches::Match& match : repeats_.matches()) {
        int32_t next = repeats_.token(match.end);
        if (match.length < allowed_length_ || repeats_.breaks(next)) continue;
        int64_t& length = longest[next];
        length = std::max(length, match.length);
    }
    constexpr double most = std::numeric_limits<float>::max();
    for (auto [token, length] : longest) {
        double penalty = multiplier_ * std::pow(double(base_), double(length - allowed_length_));
        logits[token] -= float(std::min(penalty, most));
    }
}

}  // namespace genfast

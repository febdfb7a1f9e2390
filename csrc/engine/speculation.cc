#include "engine/speculation.h"

#include <algorithm>
#include <cmath>

namespace genfast {
namespace {

constexpr int64_t kAlways = 8;  // tokens of a draft when nobody asks what it costs
constexpr double kForget = 1.0 / 8;
constexpr double kMargin = 1.03;  // less is lost in what the estimates do not know
// After so many declined drafts a short one is tried: what made them decline may have changed.
constexpr int64_t kProbeAfter = 64, kProbe = 3;

// Before anything is known, by the length of the match: 2, 3, 4, 5 to 7, 8 to 15, more.
constexpr std::array<double, 6> kHolds{0.3, 0.4, 0.5, 0.6, 0.75, 0.9};

size_t source_of(int64_t match) {
    if (match <= 4) return size_t(match - 2);
    return match < 8 ? 3 : match < NgramIndex::kLongest ? 4 : 5;
}

}  // namespace

Speculation::Speculation(Speculate when, const std::vector<int32_t>& prompt)
    : when_(when), holds_(kHolds) {
    if (when != Speculate::never) index_.extend(prompt);
}

Draft Speculation::draft(const std::vector<int32_t>& context, int64_t most, const CostModel& cost,
                         const StepSize& step, int64_t start, int64_t requests) {
    Draft draft;
    if (when_ == Speculate::never || most <= 0) return draft;
    index_.extend(context);
    NgramIndex::Match match = index_.longest(context);
    if (match.length == 0) return draft;
    draft.source = source_of(match.length);
    int64_t count = std::min(kAlways, most);
    if (when_ == Speculate::when_it_pays) {
        count = worth(holds_[draft.source], std::min(kMost, most), cost, step, start, requests);
        declined_ = count > 0 ? 0 : declined_ + 1;
        if (declined_ >= kProbeAfter * requests) {
            declined_ = 0;
            count = std::min(kProbe, most);
        }
    }
    // A match that reaches into the draft itself goes on there: a text that repeats itself.
    for (size_t i = size_t(match.end); count > 0; ++i, --count)
        draft.tokens.push_back(i < context.size() ? context[i] : draft.tokens[i - context.size()]);
    return draft;
}

// The number of guesses with the largest gain. All requests of the step pay for them, one has their
// tokens: what counts is the product of everybody's speeds (proportional fairness), which for a
// request alone is its own.
int64_t Speculation::worth(double holds, int64_t most, const CostModel& cost, const StepSize& step,
                           int64_t start, int64_t requests) const {
    double without = cost.seconds(step), best = std::log(kMargin);
    int64_t best_count = 0;
    double tokens = 1, all_hold = 1;
    for (int64_t count = 1; count <= most; ++count) {
        all_hold *= holds;
        tokens += all_hold;
        StepSize with = step;
        with.extend(start, 1, 1 + count);
        double slower = without > 0 ? cost.seconds(with) / without : 1;
        double gain = std::log(tokens) - double(requests) * std::log(slower);
        if (gain > best) best = gain, best_count = count;
        if (all_hold < 0.01) break;
    }
    return best_count;
}

void Speculation::verified(const Draft& draft, int64_t rejected) {
    double& holds = holds_[draft.source];
    for (int64_t i = std::ssize(draft.tokens) - rejected; i > 0; --i)
        holds += kForget * (1 - holds);
    if (rejected > 0) holds -= kForget * holds;
}

}  // namespace genfast

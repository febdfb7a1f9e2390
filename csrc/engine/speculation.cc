#include "engine/speculation.h"

#include <algorithm>
#include <cmath>

namespace genfast {
namespace {

constexpr int64_t kAlways = 8;  // tokens of a draft when nobody asks what it costs
constexpr double kForget = 1.0 / 8;
constexpr double kMargin = 1.03;  // less is lost in what the estimates do not know
constexpr double kCertain = 2;    // a gain that errors of the estimates do not explain
// After so many declined drafts a short one is tried, after so many in turn a step without.
constexpr int64_t kDeclined = 64, kProbe = 3, kInTurn = 32;

// Before anything is known, by the length of the match: 2, 3, 4, 5 to 7, 8 to 15, more; of a draft
// model; of a grammar.
constexpr std::array<double, Speculation::kSources> kHolds{0.3,  0.4, 0.5, 0.6,
                                                           0.75, 0.9, 0.6, 0.98};
constexpr size_t kModel = Speculation::kSources - 2, kForced = Speculation::kSources - 1;

size_t source_of(int64_t match) {
    if (match <= 4) return size_t(match - 2);
    return match < 8 ? 3 : match < NgramIndex::kLongest ? 4 : 5;
}

}  // namespace

Speculation::Speculation(Speculate when, const std::vector<int32_t>& prompt)
    : when_(when), holds_(kHolds) {
    if (when != Speculate::never) index_.extend(prompt);
}

Draft Speculation::draft(const std::vector<int32_t>& context, int64_t most, const Step& step,
                         const DraftModel* model, const std::vector<int32_t>& forced) {
    Draft draft;
    if (when_ == Speculate::never || most <= 0) return draft;
    index_.extend(context);
    if (!forced.empty()) {
        most = std::min({most, kMost, std::ssize(forced)});
        int64_t count = most;
        if (when_ != Speculate::always) count = worth(holds_[kForced], most, step, nullptr).count;
        draft.tokens.assign(forced.begin(), forced.begin() + count);
        draft.source = kForced;
        return draft;
    }
    NgramIndex::Match match = index_.longest(context);
    if (model && std::ssize(context) >= model->context()) model = nullptr;
    if (match.length == 0 && !model) {
        in_turn_ = 0;
        return draft;
    }

    size_t match_source = source_of(std::max<int64_t>(match.length, 2));
    Worth copied, modelled;
    Worth& usual = model ? modelled : copied;
    if (when_ == Speculate::always) {
        usual.count = std::min(kAlways, most);
    } else {
        if (match.length > 0) copied = worth(holds_[match_source], most, step, nullptr);
        if (model) modelled = worth(holds_[kModel], most, step, model);
        double gain = std::max(copied.gain, modelled.gain);
        if (copied.count == 0 && modelled.count == 0) {
            if (tries_a_draft(step.requests)) usual.count = std::min(kProbe, most);
        } else if (tries_without(gain)) {
            copied = modelled = {};
        }
    }
    draft.by_model = modelled.count > 0 && modelled.gain >= copied.gain;
    draft.source = draft.by_model ? kModel : match_source;
    if (draft.by_model) {
        draft.tokens.resize(size_t(modelled.count));
        return draft;
    }
    // A match that reaches into the draft itself goes on there: a text that repeats itself.
    for (size_t i = size_t(match.end); std::ssize(draft.tokens) < copied.count; ++i)
        draft.tokens.push_back(i < context.size() ? context[i] : draft.tokens[i - context.size()]);
    return draft;
}

// What is never done is never timed: whether to make a draft that does not seem to pay.
bool Speculation::tries_a_draft(int64_t requests) {
    in_turn_ = 0;
    if (++declined_ < kDeclined * requests) return false;
    declined_ = 0;
    return true;
}

// Whether to make none though it seems to pay. A large gain is beyond doubt.
bool Speculation::tries_without(double gain) {
    if (++in_turn_ < kInTurn || gain > std::log(kCertain)) return false;
    in_turn_ = 0;
    return true;
}

// The number of guesses with the largest gain. All requests of the step pay for them, one has their
// tokens: what counts is the product of everybody's speeds (proportional fairness), which for a
// request alone is its own.
Speculation::Worth Speculation::worth(double holds, int64_t most, const Step& step,
                                      const DraftModel* model) const {
    Worth best{0, std::log(kMargin)};
    double most_gain = -std::log(1 - holds);  // of endless guesses that cost nothing
    double without = step.cost.seconds(step.size), tokens = 1, all_hold = 1;
    for (int64_t count = 1; count <= std::min(most, kMost); ++count) {
        all_hold *= holds;
        if (all_hold < 0.01) break;
        tokens += all_hold;
        StepSize with = step.size;
        with.extend(step.start, 1, 1 + count);
        double seconds = step.cost.seconds(with) + (model ? model->seconds(count) : 0);
        double slower = without > 0 ? seconds / without : 1;
        double loss = double(step.requests) * std::log(slower);
        if (most_gain - loss < best.gain) break;  // more guesses cost more
        double gain = std::log(tokens) - loss;
        if (gain > best.gain) best = {count, gain};
    }
    return best;
}

void Speculation::verified(const Draft& draft, int64_t rejected) {
    double& holds = holds_[draft.source];
    for (int64_t i = std::ssize(draft.tokens) - rejected; i > 0; --i)
        holds += kForget * (1 - holds);
    if (rejected > 0) holds -= kForget * holds;
}

}  // namespace genfast

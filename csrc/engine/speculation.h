// Speculation: tokens guessed in advance and verified in one step, as its further rows. What a row
// gives does not depend on its step, and each token is drawn as it would be without guesses, so
// that only time can be won or lost. This decides when there is time to win.
//
// Guesses come from the context itself (ngram_index.h) or from a smaller model (draft_model.h), and
// where a grammar leaves no choice it is no guess (token_masks.h). A
// step of 1 + k rows costs c(1 + k) (cost_model.h). If each guess holds with probability p, it
// gives 1 + p + ... + p^k tokens. p is a running estimate of the request's own, one for each source
// of guesses: a long match holds more often than a short one.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "engine/cost_model.h"
#include "engine/draft_model.h"
#include "engine/ngram_index.h"

namespace genfast {

enum class Speculate : uint8_t { never, when_it_pays, always };

// Guessed tokens that are verified in a step.
struct Draft {
    std::vector<int32_t> tokens;  // a draft model's come later: until then only their number counts
    size_t source = 0;            // of Speculation's estimates
    bool by_model = false;
};

// How often drafts were verified, how many tokens they had, and how many of these held.
struct DraftCounts {
    int64_t drafts = 0, tokens = 0, accepted = 0;

    void add(int64_t drafted, int64_t held) {
        ++drafts;
        tokens += drafted;
        accepted += held;
    }
};

// Of one request.
class Speculation {
  public:
    static constexpr int64_t kMost = 24;  // tokens of a draft
    static constexpr size_t kSources = 8;

    // What is computed anyway: a row of this request after `start` others, and of `requests` - 1
    // others that decode.
    struct Step {
        const CostModel& cost;
        StepSize size;
        int64_t start, requests;
    };

    Speculation(Speculate when, const std::vector<int32_t>& prompt);

    // How the context may go on, for at most `most` tokens; none if that does not pay. `model`, if
    // there is one, will guess where the context itself tells less. `forced` comes before both.
    Draft draft(const std::vector<int32_t>& context, int64_t most, const Step& step,
                const DraftModel* model, const std::vector<int32_t>& forced = {});
    // Of a draft's tokens the last so many did not hold.
    void verified(const Draft& draft, int64_t rejected);

  private:
    struct Worth {
        int64_t count = 0;  // of guesses
        double gain = 0;    // of speed, its logarithm
    };
    Worth worth(double holds, int64_t most, const Step& step, const DraftModel* model) const;
    bool tries_a_draft(int64_t requests);
    bool tries_without(double gain);

    const Speculate when_;
    NgramIndex index_;
    std::array<double, kSources> holds_;  // the probability that a guess is right, by source
    int64_t declined_ = 0;                // drafts that did not seem to pay, since the last try
    int64_t in_turn_ = 0;                 // steps with a draft since the last without
};

}  // namespace genfast

// Mirostat v2 (Basu et al., 2020, arXiv 2007.14966; as in llama.cpp): tokens more surprising than
// mu bits are cut, and mu moves so that the surprise of what is drawn stays near tau.
//
// mu is a function of the tokens accepted and nothing else, and never goes back: a draw only
// remembers its surprise, `accept` learns from it.
#pragma once

#include <cmath>
#include <cstdint>
#include <limits>

#include "engine/sampling/params.h"

namespace genfast {

class Mirostat {
  public:
    explicit Mirostat(const SamplingParams& params)
        : tau_(params.mirostat_tau), eta_(params.mirostat_eta), mu_(2 * tau_) {}

    bool active() const { return tau_ > 0; }
    // The most surprise that is kept, in bits.
    double max_bits() const { return active() ? mu_ : std::numeric_limits<double>::infinity(); }

    // `token` was drawn, with this logarithm of its probability among what was kept.
    void drawn(int32_t token, double log_p) {
        bool known = std::isfinite(log_p);  // where a logit is infinite it is not
        token_ = known ? token : -1;
        bits_ = known ? -log_p / std::log(2.0) : 0;
    }
    void accept(int32_t token) {
        if (active() && token == token_) mu_ -= eta_ * (bits_ - tau_);
        token_ = -1;
    }

  private:
    double tau_, eta_, mu_;
    int32_t token_ = -1;
    double bits_ = 0;
};

}  // namespace genfast

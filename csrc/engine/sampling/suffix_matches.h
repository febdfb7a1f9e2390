// Where the end of a context stood in it before: every earlier place up to which the last tokens
// are the same, and how many of them.
//
// Kept up to date token by token: a match that goes on grows by one, so accepting a token costs as
// many steps as that token occurred before, whatever the length of the context.
#pragma once

#include <cstddef>
#include <cstdint>
#include <unordered_map>
#include <unordered_set>
#include <vector>

namespace genfast {

class SuffixMatches {
  public:
    struct Match {
        int64_t end;     // the tokens before this place are those at the end of the context
        int64_t length;  // so many of them
    };

    // No match goes over one of the `breakers`.
    explicit SuffixMatches(const std::vector<int32_t>& breakers = {})
        : breakers_(breakers.begin(), breakers.end()) {}

    void accept(int32_t token);

    const std::vector<Match>& matches() const { return matches_; }  // by end
    int32_t token(int64_t place) const { return context_[size_t(place)]; }
    int64_t size() const { return int64_t(context_.size()); }
    bool breaks(int32_t token) const { return breakers_.count(token) > 0; }

  private:
    std::unordered_set<int32_t> breakers_;
    std::vector<int32_t> context_;
    std::unordered_map<int32_t, std::vector<int64_t>> places_;  // of each token, none a breaker
    std::vector<Match> matches_;
};

}  // namespace genfast

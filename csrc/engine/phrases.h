// Phrases that a text must contain, and how far one has come with them: lexically constrained
// decoding. A hypothesis belongs to the bank of as many tokens as it has of its phrases, and every
// bank has its part of the beam (Post and Vilar, 2018, arXiv 1804.06609).
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace genfast {

using Phrases = std::vector<std::vector<int32_t>>;

class PhraseProgress {
  public:
    void add(const Phrases& phrases, int32_t token);

    bool complete(const Phrases& phrases) const { return bank(phrases) == total(phrases); }
    // Tokens of complete phrases, and of the pending one that has come farthest.
    int64_t bank(const Phrases& phrases) const;
    // What would bring a pending phrase on.
    std::vector<int32_t> next_tokens(const Phrases& phrases) const;

    static int64_t total(const Phrases& phrases);

  private:
    // Of phrase i: the longest beginning of it that the text ends with; all of it once it is there.
    size_t matched(size_t i) const { return matched_.empty() ? 0 : matched_[i]; }

    std::vector<size_t> matched_;
};

}  // namespace genfast

#include "engine/phrases.h"

#include <algorithm>

namespace genfast {
namespace {

// The longest beginning of the phrase that `length` tokens of it and one more end with: what a
// match falls back to (Knuth, Morris and Pratt, without their table: phrases are short).
size_t longest_beginning(const std::vector<int32_t>& phrase, size_t length, int32_t token) {
    std::vector<int32_t> text(phrase.begin(), phrase.begin() + std::ptrdiff_t(length));
    text.push_back(token);
    for (size_t size = text.size(); size > 0; --size)
        if (std::equal(text.end() - std::ptrdiff_t(size), text.end(), phrase.begin())) return size;
    return 0;
}

}  // namespace

void PhraseProgress::add(const Phrases& phrases, int32_t token) {
    matched_.resize(phrases.size(), 0);
    for (size_t i = 0; i < phrases.size(); ++i)
        if (matched_[i] < phrases[i].size())
            matched_[i] = longest_beginning(phrases[i], matched_[i], token);
}

int64_t PhraseProgress::bank(const Phrases& phrases) const {
    size_t complete = 0, pending = 0;
    for (size_t i = 0; i < phrases.size(); ++i) {
        size_t length = matched(i);
        if (length == phrases[i].size())
            complete += length;
        else
            pending = std::max(pending, length);
    }
    return int64_t(complete + pending);
}

std::vector<int32_t> PhraseProgress::next_tokens(const Phrases& phrases) const {
    std::vector<int32_t> tokens;
    for (size_t i = 0; i < phrases.size(); ++i) {
        size_t length = matched(i);
        if (length < phrases[i].size()) tokens.push_back(phrases[i][length]);
    }
    return tokens;
}

int64_t PhraseProgress::total(const Phrases& phrases) {
    size_t sum = 0;
    for (const auto& phrase : phrases) sum += phrase.size();
    return int64_t(sum);
}

}  // namespace genfast

#include "engine/sampling/bans.h"

#include <algorithm>
#include <limits>

namespace genfast {

constexpr float kNever = -std::numeric_limits<float>::infinity();

Bans::Bans(const SamplingParams& params, const std::vector<int32_t>& prompt)
    : ngram_size_(params.no_repeat_ngram_size),
      min_tokens_(params.min_tokens),
      words_(params.bad_words),
      stop_ids_(params.stop_ids),
      suppress_(params.suppress),
      forced_(params.forced),
      suppress_at_(params.suppress_at) {
    active_ = ngram_size_ > 0 || min_tokens_ > 0 || !words_.empty() || !forced_.empty() ||
              !suppress_.empty() || !suppress_at_.empty();
    for (const std::vector<int32_t>& word : words_)
        tail_length_ = std::max(tail_length_, word.size() - 1);
    if (active_)
        for (int32_t token : prompt) accept(token);
    generated_ = 0;
}

void Bans::accept(int32_t token) {
    if (!active_) return;
    ++generated_;
    if (ngram_size_ > 0) repeats_.accept(token);
    if (tail_length_ > 0) {
        if (tail_.size() == tail_length_) tail_.erase(tail_.begin());
        tail_.push_back(token);
    }
}

void Bans::ban_repeated_ngrams(const Row& row) const {
    if (ngram_size_ == 1) {
        for (int64_t place = 0; place < repeats_.size(); ++place)
            row.set(repeats_.token(place), kNever);
        return;
    }
    for (const SuffixMatches::Match& match : repeats_.matches())
        if (match.length >= ngram_size_ - 1) row.set(repeats_.token(match.end), kNever);
}

void Bans::ban_words(const Row& row) const {
    for (const std::vector<int32_t>& word : words_) {
        size_t before = word.size() - 1;
        if (before <= tail_.size() &&
            std::equal(word.begin(), word.end() - 1, tail_.end() - std::ptrdiff_t(before)))
            row.set(word.back(), kNever);
    }
}

void Bans::force(const Row& row) const {
    auto here = [&](const SamplingParams::Placed& placed) { return placed.first == generated_; };
    if (std::none_of(forced_.begin(), forced_.end(), here)) return;
    std::fill(row.logits, row.logits + row.vocabulary, kNever);
    for (auto [place, token] : forced_)
        if (place == generated_) row.set(token, 0);
}

void Bans::edit(float* logits, int64_t vocabulary) const {
    Row row{logits, vocabulary};
    if (ngram_size_ > 0) ban_repeated_ngrams(row);
    ban_words(row);
    if (generated_ < min_tokens_)
        for (int32_t token : stop_ids_) row.set(token, kNever);
    force(row);
    for (int32_t token : suppress_) row.set(token, kNever);
    for (auto [place, token] : suppress_at_)
        if (place == generated_) row.set(token, kNever);
}

}  // namespace genfast

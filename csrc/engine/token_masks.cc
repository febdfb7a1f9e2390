#include "engine/token_masks.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <limits>
#include <utility>

namespace genfast {
namespace {

// A guide answers within microseconds. One that is silent for so long is gone.
constexpr std::chrono::seconds kPatience{60};
constexpr int64_t kWordBits = 32;

constexpr auto kBits = [] {
    std::array<uint32_t, kWordBits> bits{};
    for (size_t i = 0; i < bits.size(); ++i) bits[i] = 1u << i;
    return bits;
}();

// One word's logits, without a branch: within a text half of the tokens may be allowed, at random.
void keep_allowed(float* logits, uint32_t allowed) {
    uint32_t values[kWordBits];
    std::memcpy(values, logits, sizeof values);
    constexpr uint32_t kNever = 0xFF800000;  // -inf
    for (size_t i = 0; i < kWordBits; ++i)
        values[i] = (allowed & kBits[i]) == kBits[i] ? values[i] : kNever;
    std::memcpy(logits, values, sizeof values);
}

}  // namespace

void MaskQueue::push(std::shared_ptr<TokenMasks> masks) {
    {
        std::lock_guard lock(mutex_);
        if (!closed_) {
            posted_.push_back(std::move(masks));
            changed_.notify_one();
            return;
        }
    }
    masks->fail("the grammar's thread has ended");
}

std::shared_ptr<TokenMasks> MaskQueue::take() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return closed_ || !posted_.empty(); });
    if (closed_) return nullptr;
    std::shared_ptr<TokenMasks> masks = std::move(posted_.front());
    posted_.pop_front();
    return masks;
}

void MaskQueue::close() {
    std::deque<std::shared_ptr<TokenMasks>> left;
    {
        std::lock_guard lock(mutex_);
        closed_ = true;
        left.swap(posted_);
        changed_.notify_all();
    }
    for (const auto& masks : left) masks->fail("the grammar's thread has ended");
}

TokenMasks::TokenMasks(std::shared_ptr<MaskQueue> queue, int64_t key, int64_t bits)
    : key(key),
      queue_(std::move(queue)),
      words_(1, std::vector<uint32_t>(size_t((bits + kWordBits - 1) / kWordBits))) {}

void TokenMasks::post(const std::vector<int32_t>& accepted) {
    {
        std::lock_guard lock(mutex_);
        if (failed()) return;
        posted_.accepted.insert(posted_.accepted.end(), accepted.begin(), accepted.end());
        answered_ = false;
        auto [forced, end] =
            std::mismatch(forced_.begin(), forced_.end(), accepted.begin(), accepted.end());
        forced_.erase(forced_.begin(), end == accepted.end() ? forced : forced_.end());
    }
    queue_->push(shared_from_this());
}

void TokenMasks::post_draft(const std::vector<int32_t>& draft) {
    {
        std::lock_guard lock(mutex_);
        if (failed()) return;
        posted_.draft = draft;
        answered_ = false;
    }
    queue_->push(shared_from_this());
}

void TokenMasks::post_beams(std::vector<Branch> beams) {
    {
        std::lock_guard lock(mutex_);
        if (failed()) return;
        posted_.beams = std::move(beams);
        answered_ = false;
    }
    queue_->push(shared_from_this());
}

std::vector<int32_t> TokenMasks::forced() {
    std::lock_guard lock(mutex_);
    return forced_;
}

bool TokenMasks::wait(const std::atomic<bool>& cancelled, Clock::time_point deadline) {
    std::unique_lock lock(mutex_);
    auto over = [&] { return answered_ || cancelled.load(); };
    if (!over()) {
        Clock::time_point begin = Clock::now(), patience = begin + kPatience;
        changed_.wait_until(lock, std::min(deadline, patience), over);
        Clock::time_point end = Clock::now();
        ++queue_->waits;
        queue_->waited_ns +=
            std::chrono::duration_cast<std::chrono::nanoseconds>(end - begin).count();
        if (!over() && end >= patience) {
            lock.unlock();
            fail("the grammar's thread does not answer");
            return true;
        }
    }
    return answered_;
}

TokenMasks::Answer TokenMasks::row(size_t index) const {
    return {verdicts_.at(index), words_.at(index).data()};
}

void TokenMasks::wake() {
    std::lock_guard lock(mutex_);
    changed_.notify_all();
}

TokenMasks::Post TokenMasks::take() {
    std::lock_guard lock(mutex_);
    size_t rows = std::max(1 + posted_.draft.size(), posted_.beams.size());
    while (words_.size() < rows) words_.emplace_back(words_[0].size());
    return std::exchange(posted_, {});
}

void TokenMasks::answer(std::vector<Verdict> rows, std::vector<int32_t> forced) {
    std::lock_guard lock(mutex_);
    if (failed()) return;
    verdicts_ = std::move(rows);
    if (!posted_.empty()) return;  // and answers again
    forced_ = std::move(forced);
    answered_ = true;
    changed_.notify_all();
}

void TokenMasks::fail(const std::string& error) {
    std::lock_guard lock(mutex_);
    if (failed()) return;
    error_ = error;
    verdicts_ = {Verdict::failed};
    answered_ = true;
    changed_.notify_all();
}

void mask_logits(float* logits, int64_t vocabulary, const uint32_t* allowed) {
    constexpr float kNever = -std::numeric_limits<float>::infinity();
    for (int64_t from = 0; from < vocabulary; from += kWordBits, ++allowed) {
        float* these = logits + from;
        int64_t count = std::min(kWordBits, vocabulary - from);
        if (*allowed == ~0u) continue;
        if (*allowed == 0)
            std::fill_n(these, count, kNever);
        else if (count == kWordBits)
            keep_allowed(these, *allowed);
        else
            for (int64_t i = 0; i < count; ++i)
                if (!(*allowed >> i & 1)) these[i] = kNever;
    }
}

}  // namespace genfast

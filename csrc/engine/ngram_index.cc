#include "engine/ngram_index.h"

#include <algorithm>

namespace genfast {
namespace {

constexpr int kTries = 32;  // places compared: bounds a search where two tokens are frequent

uint64_t pair_before(const std::vector<int32_t>& context, size_t end) {
    return uint64_t(uint32_t(context[end - 2])) << 32 | uint32_t(context[end - 1]);
}

}  // namespace

void NgramIndex::extend(const std::vector<int32_t>& context) {
    for (size_t end = before_.size(); end <= context.size(); ++end) {
        before_.push_back(0);
        if (end < 2) continue;
        int32_t& newest = newest_[pair_before(context, end)];
        before_[end] = newest;
        newest = int32_t(end);
    }
}

NgramIndex::Match NgramIndex::longest(const std::vector<int32_t>& context) const {
    Match best;
    int64_t size = int64_t(context.size()), end = before_[size_t(size)];
    for (int tries = kTries; end > 0 && tries > 0; --tries, end = before_[size_t(end)]) {
        int64_t length = 2, most = std::min(end, kLongest);
        while (length < most &&
               context[size_t(end - length - 1)] == context[size_t(size - length - 1)])
            ++length;
        if (length > best.length) best = {end, length};
        if (length == kLongest) break;
    }
    return best;
}

}  // namespace genfast

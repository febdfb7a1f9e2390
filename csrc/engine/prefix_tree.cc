#include "engine/prefix_tree.h"

#include <algorithm>
#include <iterator>

namespace genfast {

PrefixTree::Match PrefixTree::find(const int32_t* tokens, int64_t count) const {
    Match match;
    int64_t done = 0;
    for (; done + kPageTokens <= count; done += kPageTokens) {
        Key key{match.last, {}};
        std::copy_n(tokens + done, kPageTokens, key.tokens.begin());
        auto found = nodes_.find(key);
        if (found == nodes_.end()) break;
        match.pages.push_back(found->second.page);
        match.last = found->second.node;
    }
    match.whole_tokens = done;
    // The neighbours in the map's order are those with the longest beginning in common.
    int64_t rest = std::min<int64_t>(count - done, kPageTokens);
    Key key{match.last, {}};
    key.tokens.fill(INT32_MIN);
    std::copy_n(tokens + done, rest, key.tokens.begin());
    auto consider = [&](const auto& entry) {
        if (entry.first.parent != match.last) return;
        auto differs =
            std::mismatch(tokens + done, tokens + done + rest, entry.first.tokens.begin()).first;
        int64_t common = differs - (tokens + done);
        if (common <= match.partial_tokens) return;
        match.partial_tokens = common;
        match.partial_page = entry.second.page;
    };
    auto above = nodes_.lower_bound(key);
    if (above != nodes_.end()) consider(*above);
    if (above != nodes_.begin()) consider(*std::prev(above));
    return match;
}

PrefixTree::Entry PrefixTree::insert(Node parent, const int32_t* tokens, int32_t page) {
    Key key{parent, {}};
    std::copy_n(tokens, kPageTokens, key.tokens.begin());
    auto [place, added] = nodes_.try_emplace(key, Value{next_, page});
    if (added) {
        ++next_;
        places_[size_t(page)] = place;
    }
    return {place->second.node, place->second.page};
}

void PrefixTree::erase(int32_t page) {
    nodes_.erase(places_[size_t(page)]);
    places_[size_t(page)] = nodes_.end();
}

}  // namespace genfast

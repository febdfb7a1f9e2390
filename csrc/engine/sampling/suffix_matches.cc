#include "engine/sampling/suffix_matches.h"

namespace genfast {

void SuffixMatches::accept(int32_t token) {
    std::vector<Match> grown;
    if (!breaks(token)) {
        std::vector<int64_t>& places = places_[token];
        grown.reserve(places.size());
        auto before = matches_.begin();  // both lists run from front to back
        for (int64_t place : places) {
            while (before != matches_.end() && before->end < place) ++before;
            bool goes_on = before != matches_.end() && before->end == place;
            grown.push_back({place + 1, goes_on ? before->length + 1 : 1});
        }
        places.push_back(size());
    }
    matches_ = std::move(grown);
    context_.push_back(token);
}

}  // namespace genfast

// Where the last tokens of a context stood before: what followed them there may follow again
// (prompt lookup: Saxena, 2023). Texts that quote, edit or repeat give long matches.
//
// As in LZ77's hash chains, each place is linked to the one before where the same two tokens ended;
// a search walks the chain of the last two and compares backwards.
#pragma once

#include <cstdint>
#include <unordered_map>
#include <vector>

namespace genfast {

class NgramIndex {
  public:
    static constexpr int64_t kLongest = 16;  // longer matches are not told apart

    // tokens [end - length, end) are also the context's last ones; length 0: there are none such.
    struct Match {
        int64_t end = 0, length = 0;
    };

    // Takes in what the context has more than it had.
    void extend(const std::vector<int32_t>& context);
    // The longest match of the context, which was extended to; of several the last.
    Match longest(const std::vector<int32_t>& context) const;

  private:
    std::unordered_map<uint64_t, int32_t> newest_;  // two tokens → where they ended last
    std::vector<int32_t> before_;  // by where two tokens end: where the same two ended before
};

}  // namespace genfast

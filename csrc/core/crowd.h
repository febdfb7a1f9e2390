// Whether other work runs on the processors that a team uses.
//
// A team is as fast as its slowest member, and it meets hundreds of times a step. Where the machine
// runs somebody else instead of one member, all others wait for their time slices to pass: two
// threads beside two busy processes took sixteen times as long as alone, where half of the machine
// would be fair. Fewer members lose less. So when the team mostly waits it is halved, and the full
// one is tried again after a while. No result depends on it: each output has one owner, whoever.
#pragma once

#include <cstdint>

namespace genfast {

class Crowd {
  public:
    explicit Crowd(int size) : size_(size) {}

    // Members for a run that starts now (nanoseconds of any steady clock).
    int members(int64_t now) {
        if (halvings_ > 0 && now >= retry_at_) {
            --halvings_;
            strikes_ = kStrikes - 1;  // this run decides
        }
        int count = size_ >> halvings_;
        return count > 1 ? count : 1;
    }

    // A run of `count` > 1 members took [begin, end); of that they slept `slept` for each other,
    // all together.
    void ran(int count, int64_t begin, int64_t end, int64_t slept) {
        if (slept <= (end - begin) / 2 * (count - 1)) {
            if (strikes_ > 0 && --strikes_ == 0) rest_ = kShortestRest;
        } else if (++strikes_ >= kStrikes) {
            ++halvings_;
            retry_at_ = end + rest_;
            rest_ = rest_ < kLongestRest ? 2 * rest_ : rest_;
        }
    }

  private:
    static constexpr int kStrikes = 3;  // once or twice is nothing: an interrupt, a late start
    static constexpr int64_t kShortestRest = 20'000'000, kLongestRest = 640'000'000;

    const int size_;
    int halvings_ = 0, strikes_ = 0;
    int64_t retry_at_ = 0, rest_ = kShortestRest;
};

}  // namespace genfast

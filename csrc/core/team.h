// What a kernel knows of the threads that run it: which one it is, and where they meet.
// Every thread of a team calls the same kernel with the same arguments; each output element has one
// owner, so results do not depend on how many threads there are. No STL: per-ISA sources include
// it.
#pragma once

#include <cstdint>

namespace genfast {

class Barrier;

struct Range {
    int64_t begin, end;
};

struct Team {
    int index = 0;               // this thread
    int count = 1;               // threads in the team
    Barrier* barrier = nullptr;  // null for a team of one

    void sync();  // every thread of the team arrives, then all go on (thread_pool.cc)
};

// The contiguous part of [0, n) that belongs to this thread, in multiples of `grain`.
static inline Range share(int64_t n, const Team& team, int64_t grain = 1) {
    int64_t units = (n + grain - 1) / grain;
    int64_t begin = units * team.index / team.count * grain;
    int64_t end = units * (team.index + 1) / team.count * grain;
    return {begin < n ? begin : n, end < n ? end : n};
}

}  // namespace genfast

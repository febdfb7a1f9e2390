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
    int64_t* tickets = nullptr;  // shared: counts the jobs handed out; null for a team of one
    int64_t first_ticket = 0;    // of the next each_job: every thread counts along

    void sync();  // every thread of the team arrives, then all go on (thread_pool.cc)

    // Calls fn(job) for 0 .. jobs - 1, each on whichever thread is free: nobody waits long for a
    // thread that the machine slowed down. At most one such loop between two syncs.
    template <class Fn>
    [[gnu::always_inline]] inline void each_job(int64_t jobs, Fn fn) {
        if (!tickets) {
            for (int64_t job = 0; job < jobs; ++job) fn(job);
            return;
        }
        for (;;) {
            int64_t job = __atomic_fetch_add(tickets, 1, __ATOMIC_RELAXED) - first_ticket;
            if (job >= jobs) break;
            fn(job);
        }
        first_ticket += jobs + count;  // every thread drew one ticket too many
    }
};

// The contiguous part of [0, n) that belongs to this thread, in multiples of `grain`.
static inline Range share(int64_t n, const Team& team, int64_t grain = 1) {
    int64_t units = (n + grain - 1) / grain;
    int64_t begin = units * team.index / team.count * grain;
    int64_t end = units * (team.index + 1) / team.count * grain;
    return {begin < n ? begin : n, end < n ? end : n};
}

}  // namespace genfast

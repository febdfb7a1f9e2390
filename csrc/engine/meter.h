// What the engine's work costs, in all and a request: processor time, bytes moved, memory held.
//
// A step serves several requests. Its attention is divided by the keys each one visited, everything
// else by rows; pages that several use are divided among them. So what the requests are told adds
// up to what was measured.
#pragma once

#include <array>
#include <map>
#include <string>
#include <vector>

#include "core/thread_pool.h"
#include "engine/kv_cache.h"
#include "engine/scheduler.h"
#include "program/program.h"

namespace genfast {

class Meter {
  public:
    Meter(const Program& program, const KvCache& cache, ThreadPool& pool);

    // On the engine's thread. `wake`: work begins after a pause, in which nothing is measured.
    void wake();
    void step(const std::vector<Share>& shares,
              const std::vector<std::shared_ptr<Request>>& holders, double seconds,
              double attention_seconds);
    void drawn(int32_t there);  // a token: DrawnToken's, what a GPU answered
    void finished(const Request& request);
    void planned(double seconds) { planning_seconds_ += seconds; }  // and handed results out

    void report(std::map<std::string, double>& stats) const;

  private:
    static constexpr size_t kRemembered = 1024;  // steps, for the percentiles

    // A mixture's matrices, and what part of them a row visits.
    struct Experts {
        double bytes, share;
    };
    double weight_bytes(int64_t rows) const;

    const KvCache& cache_;
    ThreadPool& pool_;
    double step_bytes_ = 0, output_bytes_ = 0;  // weights read in a step, and for its logits
    std::vector<Experts> experts_;
    double cpu_at_ = 0;
    Clock::time_point measured_{};

    double steps_ = 0, tokens_ = 0, generated_ = 0, busy_seconds_ = 0, planning_seconds_ = 0;
    double prompt_tokens_ = 0, cached_tokens_ = 0;
    double drawn_there_ = 0, left_here_ = 0;
    DraftCounts drafts_;
    RequestCost total_;
    std::array<float, kRemembered> step_seconds_{};  // a ring
};

}  // namespace genfast

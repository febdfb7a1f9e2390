// A smaller model of the same vocabulary that guesses what a larger one will say (Leviathan et al.,
// 2022, arXiv 2211.17192; here the larger one draws for itself, so its tokens are exactly its own).
//
// It has a program, keys and values of its own, and runs on the engine's thread and team just
// before the step that verifies what it guessed. It is greedy, whatever the request's sampling.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <vector>

#include "engine/cost_model.h"
#include "engine/kv_cache.h"
#include "program/executor.h"

namespace genfast {

// The tokens of one request whose keys and values a draft model holds.
struct DraftContext {
    std::vector<int32_t> tokens;
    KvSequence kv;
};

// What is asked of a draft model: how `context` goes on.
struct DraftJob {
    DraftContext& held;
    const std::vector<int32_t>& context;
    std::vector<int32_t>& guesses;  // as many as it has; fewer are left where there is no more
};

class DraftModel {
  public:
    DraftModel(std::shared_ptr<const Program> program, const std::vector<KvLayout>& layouts,
               int64_t kv_pages, const Limits& limits, int64_t vocabulary, ThreadPool& pool,
               const ExecutorOptions& options);

    int64_t context() const { return executor_.limits().context; }
    // What so many guesses take, by the steps so far, for a context that grew since the last.
    double seconds(int64_t guesses) const;
    // For all jobs at once. False when cancelled.
    bool guess(std::vector<DraftJob>& jobs, const std::atomic<bool>* cancel);
    void release(DraftContext& held) { cache_.release(held.kv); }

  private:
    struct Work;
    void keep_what_holds(DraftJob& job);
    bool run(std::vector<Work*>& step, const std::atomic<bool>* cancel);

    const int64_t vocabulary_;
    KvCache cache_;
    Executor executor_;
    CostModel cost_;
    Buffer scratch_;
};

}  // namespace genfast

// Decides what the next step computes: which requests, and how many tokens of each.
//
// Running requests that decode come first (one token each), then prompts are prefilled with what is
// left of the step's token budget, in order of arrival. A request gets its pages before it gets
// rows; when pages run out, the youngest running request gives its own back and is recomputed
// later. None of this changes any result: a row's bits do not depend on what else is in its step.
#pragma once

#include <deque>
#include <memory>
#include <vector>

#include "engine/kv_cache.h"
#include "engine/request.h"

namespace genfast {

// A request's part of a step: `rows` tokens of its context from `start`, the last `outputs` of
// which give logits.
struct Share {
    std::shared_ptr<Request> request;
    int64_t start = 0, rows = 0, outputs = 0;
};

class Scheduler {
  public:
    Scheduler(KvCache& cache, const Limits& limits) : cache_(cache), limits_(limits) {}

    void add(std::shared_ptr<Request> request) { waiting_.push_back(std::move(request)); }
    void remove(const Request* request);  // finished or cancelled: gives its pages back
    std::vector<Share> next_step();

    bool idle() const { return waiting_.empty() && running_.empty(); }
    size_t waiting() const { return waiting_.size(); }
    size_t running() const { return running_.size(); }
    std::vector<std::shared_ptr<Request>> all() const;

  private:
    // Adds the request to the step if budget and pages allow it.
    bool take(const std::shared_ptr<Request>& request, std::vector<Share>& step);
    bool preempt_youngest(const std::vector<Share>& step);  // false: none is left outside the step

    KvCache& cache_;
    const Limits& limits_;
    std::deque<std::shared_ptr<Request>> waiting_;
    std::vector<std::shared_ptr<Request>> running_;  // in order of arrival
    int64_t tokens_left_ = 0, outputs_left_ = 0;
};

}  // namespace genfast

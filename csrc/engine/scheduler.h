// Decides what the next step computes: which requests, and how many tokens of each.
//
// The order is that of priorities, then of arrival. A request joins when it can have the pages of
// its whole context (with a window, of its first step); one of a lower priority gives its own back
// for it. Running requests that decode come first, one token each. Then prompts are prefilled with
// what is left of the step: while others decode, as much as makes the step at most kStretch times
// as long (cost_model.h), and of that at most half while more prompts wait. When pages run out, the
// last in order gives its own back and is recomputed later, from what the prefix tree still knows
// then. A request that decodes may get more rows than its one, for tokens that are only guessed
// (speculation.h); not with recurrent state, which no row can be taken back from.
//
// Recurrent state can only be taken up where a snapshot was left: at the end of a step that ends a
// page. So steps end where others may want to begin (see until_snapshot).
//
// None of this changes any result: a row's bits do not depend on what else is in its step.
#pragma once

#include <memory>
#include <set>
#include <utility>
#include <vector>

#include "engine/cost_model.h"
#include "engine/kv_cache.h"
#include "engine/request.h"

namespace genfast {

// A request's part of a step: `rows` tokens from `start`, of its context and then of the draft, the
// last `outputs` of which give logits. Of a beam search, each beam has a share, and all of them are
// in a step or none; so with guidance the two that are continued alike.
struct Share {
    std::shared_ptr<Request> request;
    int64_t start = 0, rows = 0, outputs = 0;
    Sequence* sequence = nullptr;  // the request's own, a beam, or the negative one
    Draft draft{};

    // Whether it computes all that its request knows: what comes next is then drawn.
    bool reaches_end() const { return start + rows >= int64_t(sequence->context.size()); }
    // The last rows, from which the request is continued: more than one where tokens were guessed.
    int64_t continuing_rows() const {
        const bool continues = request->spec.max_tokens > 0 && reaches_end() && outputs > 0;
        return continues ? 1 + std::ssize(draft.tokens) : 0;
    }
    // Whether the request wants its prompt's outputs, and some are here.
    bool wants_outputs() const {
        return outputs > 0 && request->spec.prompt_outputs != PromptOutputs::none &&
               start < int64_t(request->spec.prompt.size());
    }
};

// The tokens that some layer looks at: the last `window` (0: all) and the first `sinks`.
struct Sight {
    int64_t window = 0, sinks = 0;
};

class Scheduler {
  public:
    static constexpr double kStretch = 1.8;

    Scheduler(KvCache& cache, const Limits& limits, const CostModel& cost, const Sight& sight)
        : cache_(cache), limits_(limits), cost_(cost), sight_(sight) {}

    void add(std::shared_ptr<Request> request);
    void remove(const std::shared_ptr<Request>& request);  // finished: gives its pages back
    std::vector<Share> next_step(Clock::time_point now);
    // Its keys and values are in the cache, those of the last `rejected` tokens in vain.
    void computed(const Share& share, int64_t rejected);
    // Requests that need more pages than there are, all others gone: they can only end.
    std::vector<std::shared_ptr<Request>> take_exhausted() { return std::exchange(exhausted_, {}); }

    // How long until a new request of this kind had its first token, by the cost model.
    double first_token_seconds(const RequestSpec& spec) const;

    bool idle() const { return waiting_.empty() && running_.empty(); }
    size_t waiting() const { return waiting_.size(); }
    const std::vector<std::shared_ptr<Request>>& running() const { return running_; }
    std::vector<std::shared_ptr<Request>> all() const;
    // The requests, running and waiting, for which the condition holds.
    template <class Condition>
    std::vector<std::shared_ptr<Request>> those(Condition condition) const {
        std::vector<std::shared_ptr<Request>> found;
        for (const auto& request : running_)
            if (condition(*request)) found.push_back(request);
        for (const auto& request : waiting_)
            if (condition(*request)) found.push_back(request);
        return found;
    }

  private:
    using Pointer = std::shared_ptr<Request>;
    struct Before {
        bool operator()(const Pointer& a, const Pointer& b) const {
            if (a->spec.priority != b->spec.priority) return a->spec.priority > b->spec.priority;
            return a->arrival < b->arrival;
        }
    };

    void admit();
    bool start(const Pointer& request);  // false: pages are short
    bool is_being_computed(const Request& request) const;
    void decode(const Pointer& request, StepSize& size, std::vector<Share>& step);
    void take(const Pointer& request, Sequence& sequence, int64_t rows, std::vector<Share>& step);
    int64_t until_snapshot(const RequestSpec& spec, const Sequence& sequence, int64_t rows) const;
    void speculate(Share& share, int64_t requests, StepSize& size);
    bool make_room(const Pointer& request, Sequence& sequence, int64_t rows,
                   const std::vector<Share>& step);
    void restore_beams(Request& request);
    void restore(Request& request, Beam& beam);
    void release(Request& request);
    void preempt(Pointer victim);

    KvCache& cache_;
    const Limits& limits_;
    const CostModel& cost_;
    const Sight sight_;
    std::set<Pointer, Before> waiting_;
    std::vector<Pointer> running_;  // in the same order
    std::vector<Pointer> exhausted_;
    uint64_t arrivals_ = 0;
    int64_t tokens_left_ = 0, outputs_left_ = 0;
};

}  // namespace genfast

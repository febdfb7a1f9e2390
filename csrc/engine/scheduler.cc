#include "engine/scheduler.h"

#include <algorithm>

namespace genfast {
namespace {

bool decodes(const Request& request) {
    return int64_t(request.context.size()) - request.cached == 1 && request.cached > 0;
}

}  // namespace

void Scheduler::remove(const Request* request) {
    auto same = [&](const std::shared_ptr<Request>& r) { return r.get() == request; };
    auto drop = [&](auto& list) {
        auto found = std::find_if(list.begin(), list.end(), same);
        if (found == list.end()) return;
        cache_.release((*found)->pages);
        list.erase(found);
    };
    drop(running_);
    drop(waiting_);
}

std::vector<std::shared_ptr<Request>> Scheduler::all() const {
    std::vector<std::shared_ptr<Request>> requests(running_.begin(), running_.end());
    requests.insert(requests.end(), waiting_.begin(), waiting_.end());
    return requests;
}

std::vector<Share> Scheduler::next_step() {
    std::vector<Share> step;
    tokens_left_ = limits_.tokens;
    outputs_left_ = limits_.outputs;
    // take() may preempt members of running_, so walk a copy.
    std::vector<std::shared_ptr<Request>> running = running_;
    for (bool decoding : {true, false})
        for (const auto& request : running)
            if (decodes(*request) == decoding && !request->pages.empty()) take(request, step);
    while (!waiting_.empty() && int64_t(running_.size()) < limits_.sequences) {
        std::shared_ptr<Request> request = waiting_.front();
        if (!take(request, step)) break;
        waiting_.pop_front();
        running_.push_back(std::move(request));
    }
    return step;
}

bool Scheduler::take(const std::shared_ptr<Request>& request, std::vector<Share>& step) {
    const RequestSpec& spec = request->spec;
    int64_t known = int64_t(request->context.size()), prompt = int64_t(spec.prompt.size());
    int64_t rows = std::min(known - request->cached, tokens_left_);
    if (spec.chunk > 0) rows = std::min(rows, spec.chunk);
    bool wants_prompt = spec.prompt_outputs != PromptOutputs::none && request->cached < prompt;
    if (wants_prompt) rows = std::min(rows, outputs_left_);
    if (rows <= 0 || outputs_left_ <= 0 || int64_t(step.size()) >= limits_.sequences) return false;

    bool waits = request->pages.empty();
    while (!cache_.grow(request->pages, request->cached + rows)) {
        // One that waits never takes pages from those that run.
        if (waits || !preempt_youngest(step)) return false;
        if (request->pages.empty()) return false;  // it was itself the youngest
    }
    bool reaches_end = request->cached + rows == known;
    int64_t outputs = wants_prompt ? rows : reaches_end && spec.max_tokens > 0 ? 1 : 0;
    step.push_back({request, request->cached, rows, outputs});
    tokens_left_ -= rows;
    outputs_left_ -= outputs;
    return true;
}

bool Scheduler::preempt_youngest(const std::vector<Share>& step) {
    for (size_t i = running_.size(); i-- > 0;) {
        std::shared_ptr<Request> victim = running_[i];
        bool in_step = std::any_of(step.begin(), step.end(),
                                   [&](const Share& share) { return share.request == victim; });
        if (in_step) continue;
        cache_.release(victim->pages);
        victim->cached = 0;
        running_.erase(running_.begin() + std::ptrdiff_t(i));
        waiting_.push_front(victim);
        return true;
    }
    return false;
}

}  // namespace genfast

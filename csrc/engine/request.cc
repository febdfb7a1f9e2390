#include "engine/request.h"

#include <algorithm>

namespace genfast {

Request::Request(RequestSpec request, int64_t most_context)
    : Sequence{request.prompt, {}, 0},
      spec(std::move(request)),
      submitted(Clock::now()),
      sampler(spec.sampling, spec.prompt),
      speculation(spec.speculate, spec.prompt) {
    if (!spec.guidance.negative_prompt.empty())
        negative = std::make_unique<Sequence>(Sequence{spec.guidance.negative_prompt, {}, 0});
    if (spec.beams.count == 1) return;
    int64_t room = most_context + 1 - int64_t(spec.prompt.size());  // the last token needs no place
    search = std::make_unique<BeamSearch>(spec.beams, spec.sampling, spec.prompt,
                                          std::min(spec.max_tokens, room), spec.masks != nullptr);
}

std::vector<Sequence*> Request::together() {
    std::vector<Sequence*> sequences;
    for (Beam& beam : beams()) sequences.push_back(&beam);
    if (sequences.empty()) sequences.push_back(this);
    if (negative) sequences.push_back(negative.get());
    return sequences;
}

void Request::cancel() {
    cancelled.store(true);
    if (spec.masks) spec.masks->wake();
}

bool Request::wait(int64_t wanted, double seconds) {
    std::unique_lock lock(mutex);
    auto ready = [&] {
        if (finish != FinishReason::none || int64_t(tokens.size()) >= wanted) return true;
        wake_at_ = std::min(wake_at_, wanted);  // again after each wake-up: others wait here too
        return false;
    };
    return changed.wait_for(lock, std::chrono::duration<double>(seconds), ready);
}

void Request::notify() {
    if (finish == FinishReason::none && int64_t(tokens.size()) < wake_at_) return;
    wake_at_ = INT64_MAX;
    changed.notify_all();
}

const char* name_of(FinishReason reason) {
    switch (reason) {
        case FinishReason::none:
            return "";
        case FinishReason::stop:
            return "stop";
        case FinishReason::length:
            return "length";
        case FinishReason::cancelled:
            return "cancelled";
        case FinishReason::deadline:
            return "deadline";
        case FinishReason::grammar:
            return "grammar";
        case FinishReason::error:
            return "error";
    }
    return "";
}

}  // namespace genfast

#include "engine/request.h"

#include <algorithm>

namespace genfast {

Request::Request(RequestSpec request)
    : spec(std::move(request)),
      submitted(Clock::now()),
      sampler(spec.sampling, spec.prompt),
      speculation(spec.speculate, spec.prompt),
      context(spec.prompt) {}

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

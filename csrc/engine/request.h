// One request: a prompt, how to continue it, and what has come of it so far.
//
// The engine's thread writes, any other thread waits and reads; `mutex` guards what both touch.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <string>
#include <vector>

#include "engine/sampler.h"

namespace genfast {

using Clock = std::chrono::steady_clock;

enum class FinishReason : uint8_t { none, stop, length, cancelled, error };

// What a request wants of its prompt's outputs besides the continuation.
enum class PromptOutputs : uint8_t { none, logits, logprobs };

struct RequestSpec {
    std::vector<int32_t> prompt;
    int64_t max_tokens = 128;  // 0: the prompt's outputs only
    SamplingParams sampling;
    PromptOutputs prompt_outputs = PromptOutputs::none;
    int64_t chunk = 0;  // most prompt tokens a step; 0: as many as fit
};

class Request {
  public:
    explicit Request(RequestSpec spec);

    void cancel() { cancelled.store(true); }

    // Waits until `tokens` tokens exist or the request is finished; false when the time is over.
    bool wait(int64_t tokens, double seconds);

    const RequestSpec spec;
    std::atomic<bool> cancelled{false};

    // ---- guarded by mutex
    // -------------------------------------------------------------------------
    std::mutex mutex;
    std::condition_variable changed;
    std::vector<int32_t> tokens;          // generated
    std::vector<TokenLogprobs> logprobs;  // one a generated token, when asked for
    std::vector<float> prompt_logits;     // [prompt, V], when asked for
    std::vector<float> prompt_logprobs;   // [prompt - 1]: of each prompt token after the first
    FinishReason finish = FinishReason::none;
    std::string error;
    Clock::time_point submitted, started, first_token, finished;

    // ---- the engine's thread alone
    // ----------------------------------------------------------------
    Sampler sampler;
    std::vector<int32_t> pages;
    std::vector<int32_t> context;  // prompt and generated tokens
    int64_t cached = 0;            // tokens of the context whose keys and values are in the cache

    // Wakes waiters if somebody waits for what there is now. Needs the mutex.
    void notify();

  private:
    int64_t wake_at_ = INT64_MAX;  // the smallest number of tokens that somebody waits for
};

const char* name_of(FinishReason reason);

}  // namespace genfast

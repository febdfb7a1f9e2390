// One request: a prompt, how to continue it, and what has come of it so far.
//
// The engine's thread writes, any other thread waits and reads; `mutex` guards what both touch.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "engine/beam_search.h"
#include "engine/sampler.h"
#include "engine/sampling/guidance.h"
#include "engine/sequence.h"
#include "engine/speculation.h"
#include "engine/token_masks.h"

namespace genfast {

using Clock = std::chrono::steady_clock;

enum class FinishReason : uint8_t { none, stop, length, cancelled, deadline, grammar, error };

// What a request wants of its prompt's outputs besides the continuation.
enum class PromptOutputs : uint8_t { none, logits, logprobs };

struct RequestSpec {
    std::vector<int32_t> prompt;
    int64_t max_tokens = 128;  // 0: the prompt's outputs only
    SamplingParams sampling;
    PromptOutputs prompt_outputs = PromptOutputs::none;
    int64_t outputs_from = 0;  // the first prompt token whose outputs are wanted
    bool reuse = true;         // what the prefix cache knows of the prompt need not be computed
    int64_t chunk = 0;         // most prompt tokens a step; 0: as many as fit
    int64_t priority = 0;      // the higher ones first
    Clock::time_point deadline = Clock::time_point::max();
    Speculate speculate = Speculate::never;
    std::shared_ptr<DraftModel> draft_model{};  // of the same engine; may be null
    std::shared_ptr<TokenMasks> masks{};        // what a grammar allows; null: everything
    BeamParams beams{};
    Guidance guidance{};
};

// What a request took of the machine. Steps are shared: so are their costs, by rows and keys.
struct RequestCost {
    double cpu_seconds = 0;
    double bytes_moved = 0;  // weights, keys and values, read or written
    double kv_byte_seconds = 0;
};

// Its own sequence is the prompt and its continuation. In a beam search it is the prompt alone, and
// the beams fork from it.
class Request : public Sequence {
  public:
    // context: most tokens that the model bears.
    Request(RequestSpec spec, int64_t context);

    void cancel();

    // Waits until `tokens` tokens exist or the request is finished; false when the time is over.
    bool wait(int64_t tokens, double seconds);

    const RequestSpec spec;
    std::atomic<bool> cancelled{false};

    // ---- guarded by mutex
    // -------------------------------------------------------------------------
    std::mutex mutex;
    std::condition_variable changed;
    std::vector<int32_t> tokens;                 // generated
    std::vector<TokenLogprobs> logprobs;         // one a generated token, when asked for
    std::vector<uint64_t> digests;               // of the logits that gave each generated token
    std::vector<float> prompt_logits;            // [prompt - outputs_from, V], when asked for
    std::vector<TokenLogprobs> prompt_logprobs;  // [prompt - 1]: of those after the first
    std::vector<Hypothesis> hypotheses;          // of a beam search, once it is finished
    FinishReason finish = FinishReason::none;
    std::string error;
    int64_t prompt_cached = 0;  // prompt tokens that came from the prefix cache
    RequestCost cost;
    DraftCounts drafts;
    Clock::time_point submitted, started, first_token, finished;

    // ---- the engine's thread alone
    // ----------------------------------------------------------------
    Sampler sampler;
    Speculation speculation;
    DraftContext draft_context;
    std::unique_ptr<BeamSearch> search;  // null: no beam search
    std::unique_ptr<Sequence> negative;  // the negative prompt, continued alike; null: no guidance
    uint64_t arrival = 0;                // counts requests

    std::span<Beam> beams() const { return search ? search->beams() : std::span<Beam>(); }
    // Those that a step computes together once the prompts are: the beams, or its own and the
    // negative one.
    std::vector<Sequence*> together();

    // Wakes waiters if somebody waits for what there is now. Needs the mutex.
    void notify();

  private:
    int64_t wake_at_ = INT64_MAX;  // the smallest number of tokens that somebody waits for
};

const char* name_of(FinishReason reason);

}  // namespace genfast

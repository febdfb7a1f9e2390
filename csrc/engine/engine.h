// The generate loop: one thread that turns requests into tokens, step after step, without Python.
//
// Any thread may submit, cancel and wait. Requests join and leave the running batch between steps:
// the mutex is held while a step is planned and while its results are handed out, never while it
// computes.
#pragma once

#include <condition_variable>
#include <map>
#include <memory>
#include <mutex>
#include <span>
#include <thread>
#include <vector>

#include "engine/cost_model.h"
#include "engine/decoder.h"
#include "engine/kv_cache.h"
#include "engine/meter.h"
#include "engine/ranks.h"
#include "engine/request.h"
#include "engine/scheduler.h"
#include "program/executor.h"

namespace genfast {

struct EngineOptions {
    int threads = 0;              // 0: default_threads()
    std::string isa;              // "": the default; "cuda": on a GPU
    size_t on_device = SIZE_MAX;  // with "cuda": how many of the first instructions run there
    int64_t kv_pages = 64;        // of 32 tokens, shared by all requests
    int64_t state_slots = 0;      // of recurrent state, where the program has any
    int64_t step_tokens = 512;    // most tokens a step
    int64_t sequences = 64;       // most requests that run at once
    int64_t context = 2048;       // most tokens of one request
    int64_t vocabulary = 0;       // V; the program's output columns
    bool check = false;           // GENFAST_CHECK
    int64_t queue = INT64_MAX;    // most requests that wait
    bool prefix_cache = true;     // keep pages of finished requests for prompts that begin alike
    std::shared_ptr<Communicator> ranks;  // that run the program together; this is rank 0
};

class Engine {
  public:
    Engine(std::shared_ptr<const Program> program, const std::vector<KvLayout>& layouts,
           EngineOptions options);
    ~Engine();  // as close()

    // Throws std::invalid_argument for a prompt that cannot be served, QueueFull, and DeadlineError
    // for a deadline that will pass before the first token.
    std::shared_ptr<Request> submit(RequestSpec spec);
    void cancel(Request& request);
    void close();         // cancels everything and joins the thread; may be called again
    bool forked() const;  // in a child process, where none of its threads exist

    // Keys and values of the beginning of these tokens, as far as the cache knows them: whole
    // pages; and the state after them. Importing makes them known, as far as there is room (with
    // state, all or none); returns how many tokens.
    struct Prefix {
        int64_t tokens = 0;
        std::vector<std::byte> pages, state;
    };
    Prefix export_kv(const std::vector<int32_t>& tokens);
    int64_t import_kv(const std::vector<int32_t>& tokens, std::span<const std::byte> pages,
                      std::span<const std::byte> state);

    // For requests of this engine: a model that guesses for them, with keys and values of its own.
    std::shared_ptr<DraftModel> draft_model(std::shared_ptr<const Program> program,
                                            const std::vector<KvLayout>& layouts, int64_t context);

    std::map<std::string, double> stats() const;
    std::string dump() const { return executor_.dump(); }
    const std::string& isa() const { return executor_.isa(); }

  private:
    void check_beams(const RequestSpec& spec) const;
    void check_one_rank() const;
    void loop();
    bool plan_step();  // false when the engine closes
    void end_overdue(Clock::time_point now);
    double ask_draft_models();
    void run_step();
    void collect(double seconds, double drafting_seconds);
    void prompt_outputs(const Share& share, const float* logits);
    void finish(const std::shared_ptr<Request>& request, FinishReason reason,
                const std::string& error = "");

    EngineOptions options_;
    ThreadPool pool_;
    KvCache cache_;
    std::unique_ptr<Leader> leader_;  // null: no other ranks
    Executor executor_;
    Decoder decoder_;
    CostModel cost_;
    Scheduler scheduler_;
    Meter meter_;

    // The current step and its inputs, kept to avoid allocating in every step.
    std::vector<Share> shares_;
    std::vector<int32_t> token_ids_, positions_, output_rows_;
    std::vector<SequenceSpan> spans_;
    std::vector<RowDraw> draws_;

    // Guards cache, cost model, scheduler, meter and what follows. Before a request's own mutex.
    mutable std::mutex mutex_;
    std::condition_variable work_;
    bool closing_ = false;
    std::atomic<bool> abort_step_{false};

    int owner_process_;
    std::thread thread_;
};

}  // namespace genfast

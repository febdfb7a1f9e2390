// The generate loop: one thread that turns requests into tokens, step after step, without Python.
//
// Any thread may submit, cancel and wait. Requests join and leave the running batch between steps.
#pragma once

#include <condition_variable>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "engine/kv_cache.h"
#include "engine/request.h"
#include "engine/scheduler.h"
#include "program/executor.h"

namespace genfast {

struct EngineOptions {
    int threads = 0;            // 0: default_threads()
    std::string isa;            // "": the default
    int64_t kv_pages = 64;      // of 32 tokens, shared by all requests
    int64_t step_tokens = 512;  // most tokens a step
    int64_t sequences = 64;     // most requests that run at once
    int64_t context = 2048;     // most tokens of one request
    int64_t vocabulary = 0;     // V; the program's output columns
    bool check = false;         // GENFAST_CHECK
};

class Engine {
  public:
    Engine(std::shared_ptr<const Program> program, const std::vector<KvLayout>& layouts,
           EngineOptions options);
    ~Engine();  // as close()

    // Throws std::invalid_argument for a prompt that cannot be served.
    std::shared_ptr<Request> submit(RequestSpec spec);
    void cancel(Request& request);
    void close();         // cancels everything and joins the thread; may be called again
    bool forked() const;  // in a child process, where none of its threads exist

    std::map<std::string, double> stats() const;
    std::string dump() const { return executor_.dump(); }
    const Kernels& kernels() const { return executor_.kernels(); }

  private:
    void loop();
    bool wait_for_work();
    void note_state();
    void drop_cancelled();
    void run_step(std::vector<Share>& shares);
    void collect(std::vector<Share>& shares);
    void prompt_outputs(const Share& share, const float* logits);
    void sample(std::vector<std::pair<Request*, float*>>& rows);
    void accept(Request& request, int32_t token, TokenLogprobs logprobs);
    void finish(Request& request, FinishReason reason, const std::string& error = "");

    EngineOptions options_;
    ThreadPool pool_;
    KvCache cache_;
    Executor executor_;
    Scheduler scheduler_;

    // The current step's inputs, kept to avoid allocating in every step.
    std::vector<int32_t> token_ids_, positions_, output_rows_;
    std::vector<SequenceSpan> spans_;
    std::vector<Buffer> sample_scratch_;  // a thread

    mutable std::mutex mutex_;  // guards what follows
    std::condition_variable work_;
    std::deque<std::shared_ptr<Request>> inbox_;
    std::vector<std::shared_ptr<Request>> in_step_;
    bool closing_ = false;
    std::atomic<bool> abort_step_{false};
    std::map<std::string, double> stats_;

    int owner_process_;
    std::thread thread_;
};

}  // namespace genfast

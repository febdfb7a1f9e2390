#include "engine/engine.h"

#include <unistd.h>

#include <algorithm>

#include "core/cpu.h"
#include "core/error.h"

namespace genfast {
namespace {

Limits limits_of(const EngineOptions& options) {
    Limits limits;
    limits.tokens = options.step_tokens;
    limits.sequences = options.sequences;
    limits.outputs = std::max<int64_t>(options.sequences, 64);
    limits.context = options.context;
    return limits;
}

}  // namespace

Engine::Engine(std::shared_ptr<const Program> program, const std::vector<KvLayout>& layouts,
               EngineOptions options)
    : options_(std::move(options)),
      pool_(options_.threads > 0 ? options_.threads : default_threads(), true),
      cache_(layouts, options_.kv_pages),
      executor_(std::move(program), cache_.layers(), limits_of(options_), pool_,
                {options_.isa, false, options_.check}),
      scheduler_(cache_, executor_.limits()),
      owner_process_(getpid()) {
    for (int i = 0; i < pool_.size(); ++i)
        sample_scratch_.emplace_back(sampler_scratch_bytes(options_.vocabulary));
    for (const char* counter : {"steps", "tokens", "busy_seconds"}) stats_[counter] = 0;
    note_state();
    thread_ = std::thread([this] { loop(); });
}

Engine::~Engine() {
    close();
}

std::shared_ptr<Request> Engine::submit(RequestSpec spec) {
    int64_t prompt = int64_t(spec.prompt.size());
    require(prompt > 0, "the prompt is empty: it needs at least one token");
    require(prompt <= options_.context, "the prompt has ", prompt,
            " tokens, the model's context holds ", options_.context);
    for (int32_t id : spec.prompt)
        require(id >= 0 && id < options_.vocabulary, "token id ", id,
                " is outside the vocabulary [0, ", options_.vocabulary, ")");
    if (forked())
        throw std::runtime_error(
            "this model was loaded before a fork; threads do not survive a fork: load it in the "
            "child process (multiprocessing: use the 'spawn' start method)");
    auto request = std::make_shared<Request>(std::move(spec));
    require(pages_for(prompt) <= cache_.pages(), "the prompt needs ", pages_for(prompt),
            " KV pages, the cache has ", cache_.pages(),
            "; load the model with more kv_cache_bytes");
    std::lock_guard lock(mutex_);
    if (closing_) throw std::runtime_error("the model is closed");
    inbox_.push_back(request);
    work_.notify_one();
    return request;
}

void Engine::cancel(Request& request) {
    request.cancel();
    std::lock_guard lock(mutex_);
    // A step is left at once when nobody in it wants its result any more.
    bool wanted = std::any_of(in_step_.begin(), in_step_.end(),
                              [](const auto& r) { return !r->cancelled.load(); });
    if (!in_step_.empty() && !wanted) abort_step_.store(true);
    work_.notify_one();
}

void Engine::close() {
    if (forked()) return;  // there is no thread to join
    {
        std::lock_guard lock(mutex_);
        closing_ = true;
        abort_step_.store(true);
        work_.notify_one();
    }
    if (thread_.joinable()) thread_.join();
}

bool Engine::forked() const {
    return getpid() != owner_process_;
}

std::map<std::string, double> Engine::stats() const {
    std::lock_guard lock(mutex_);
    return stats_;
}

void Engine::loop() {
    while (wait_for_work()) {
        drop_cancelled();
        std::vector<Share> shares = scheduler_.next_step();
        if (shares.empty()) continue;
        try {
            run_step(shares);
        } catch (const std::exception& error) {
            for (Share& share : shares) finish(*share.request, FinishReason::error, error.what());
        }
    }
    for (const auto& request : scheduler_.all()) finish(*request, FinishReason::cancelled);
    std::lock_guard lock(mutex_);
    note_state();
}

// Needs the mutex.
void Engine::note_state() {
    stats_["running"] = double(scheduler_.running());
    stats_["waiting"] = double(scheduler_.waiting() + inbox_.size());
    stats_["kv_pages"] = double(cache_.pages());
    stats_["kv_pages_used"] = double(cache_.pages() - cache_.free_pages());
}

// False when the engine closes.
bool Engine::wait_for_work() {
    std::unique_lock lock(mutex_);
    in_step_.clear();
    note_state();
    work_.wait(lock, [&] { return closing_ || !inbox_.empty() || !scheduler_.idle(); });
    for (; !inbox_.empty(); inbox_.pop_front()) scheduler_.add(std::move(inbox_.front()));
    if (closing_) return false;
    note_state();
    return true;
}

void Engine::drop_cancelled() {
    for (const auto& request : scheduler_.all())
        if (request->cancelled.load()) finish(*request, FinishReason::cancelled);
}

void Engine::run_step(std::vector<Share>& shares) {
    token_ids_.clear();
    positions_.clear();
    output_rows_.clear();
    spans_.clear();
    for (const Share& share : shares) {
        Request& request = *share.request;
        if (request.started == Clock::time_point{}) request.started = Clock::now();
        int64_t row = int64_t(token_ids_.size());
        spans_.push_back({row, share.rows, share.start, request.pages.data()});
        for (int64_t i = 0; i < share.rows; ++i) {
            token_ids_.push_back(request.context[size_t(share.start + i)]);
            positions_.push_back(int32_t(share.start + i));
        }
        for (int64_t i = share.rows - share.outputs; i < share.rows; ++i)
            output_rows_.push_back(int32_t(row + i));
    }
    {
        std::lock_guard lock(mutex_);
        abort_step_.store(closing_);
        for (const Share& share : shares) in_step_.push_back(share.request);
    }
    Step step{int64_t(token_ids_.size()),   token_ids_.data(),   positions_.data(),
              int64_t(output_rows_.size()), output_rows_.data(), spans_.data(),
              int64_t(spans_.size())};
    auto begin = Clock::now();
    if (!executor_.run(step, &abort_step_)) return;
    {
        std::lock_guard lock(mutex_);
        stats_["steps"] += 1;
        stats_["tokens"] += double(step.tokens);
        stats_["busy_seconds"] += std::chrono::duration<double>(Clock::now() - begin).count();
    }
    collect(shares);
}

// Takes the step's logits to those who asked for them.
void Engine::collect(std::vector<Share>& shares) {
    float* logits = const_cast<float*>(executor_.output());
    std::vector<std::pair<Request*, float*>> to_sample;
    for (Share& share : shares) {
        Request& request = *share.request;
        request.cached = share.start + share.rows;
        if (share.outputs > 0 && request.spec.prompt_outputs != PromptOutputs::none &&
            share.start < int64_t(request.spec.prompt.size()))
            prompt_outputs(share, logits);
        logits += share.outputs * options_.vocabulary;
        if (request.cached < int64_t(request.context.size())) continue;
        if (request.spec.max_tokens > 0)
            to_sample.push_back({&request, logits - options_.vocabulary});
        else
            finish(request, FinishReason::length);
    }
    sample(to_sample);
}

void Engine::prompt_outputs(const Share& share, const float* logits) {
    Request& request = *share.request;
    const std::vector<int32_t>& prompt = request.spec.prompt;
    size_t v = size_t(options_.vocabulary);
    if (request.spec.prompt_outputs == PromptOutputs::logits) {
        request.prompt_logits.resize(prompt.size() * v);
        std::copy_n(logits, size_t(share.outputs) * v,
                    request.prompt_logits.begin() + std::ptrdiff_t(size_t(share.start) * v));
        return;
    }
    request.prompt_logprobs.resize(prompt.size() - 1);
    for (int64_t i = 0; i < share.outputs; ++i) {
        size_t next = size_t(share.start + i + 1);
        if (next >= prompt.size()) break;
        request.prompt_logprobs[next - 1] =
            token_logprobs(logits + size_t(i) * v, options_.vocabulary, prompt[next], 0,
                           executor_.kernels(), sample_scratch_[0].data())
                .logprob;
    }
}

void Engine::sample(std::vector<std::pair<Request*, float*>>& rows) {
    std::vector<int32_t> tokens(rows.size());
    std::vector<TokenLogprobs> logprobs(rows.size());
    auto draw = [&](Team& team) {
        Range mine = share(int64_t(rows.size()), team);
        for (int64_t i = mine.begin; i < mine.end; ++i) {
            Request& request = *rows[size_t(i)].first;
            tokens[size_t(i)] = request.sampler.next(
                rows[size_t(i)].second, options_.vocabulary, int64_t(request.context.size()),
                executor_.kernels(), sample_scratch_[size_t(team.index)].data(),
                &logprobs[size_t(i)]);
        }
    };
    Team alone;
    if (rows.size() > 1)
        pool_.run(draw);
    else
        draw(alone);
    for (size_t i = 0; i < rows.size(); ++i)
        accept(*rows[i].first, tokens[i], std::move(logprobs[i]));
}

void Engine::accept(Request& request, int32_t token, TokenLogprobs logprobs) {
    if (token < 0)
        return finish(request, FinishReason::error,
                      "the model's logits hold no finite number: its weights or inputs overflow "
                      "(try dtype=\"float32\")");
    const RequestSpec& spec = request.spec;
    request.sampler.accept(token);
    request.context.push_back(token);
    FinishReason reason = FinishReason::none;
    {
        std::lock_guard lock(request.mutex);
        if (request.tokens.empty()) request.first_token = Clock::now();
        request.tokens.push_back(token);
        if (spec.sampling.logprobs >= 0) request.logprobs.push_back(std::move(logprobs));
        const std::vector<int32_t>& stops = spec.sampling.stop_ids;
        if (std::find(stops.begin(), stops.end(), token) != stops.end())
            reason = FinishReason::stop;
        else if (int64_t(request.tokens.size()) >= spec.max_tokens ||
                 int64_t(request.context.size()) >
                     options_.context)  // the last token needs no place
            reason = FinishReason::length;
        if (reason == FinishReason::none) request.notify();
    }
    if (reason != FinishReason::none) finish(request, reason);
}

void Engine::finish(Request& request, FinishReason reason, const std::string& error) {
    {
        std::lock_guard lock(request.mutex);
        if (request.finish == FinishReason::none) {
            request.finish = reason;
            request.error = error;
            request.finished = Clock::now();
            request.notify();
        }
    }
    scheduler_.remove(&request);
}

}  // namespace genfast

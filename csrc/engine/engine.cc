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

ExecutorOptions executor_options(const EngineOptions& options) {
    return {options.isa, false, options.check, options.ranks.get(), options.on_device};
}

std::unique_ptr<Leader> leader_of(const EngineOptions& options, const KvCache& cache) {
    if (!options.ranks) return nullptr;
    return std::make_unique<Leader>(*options.ranks, cache.pages(), limits_of(options));
}

Sight sight_of(const Program& program) {
    Sight sight;
    for (const Instruction& instruction : program.instructions()) {
        if (!attends(instruction)) continue;
        int64_t window = instruction.integer("window");
        if (window == 0) return {};
        sight.window = std::max(sight.window, window);
        sight.sinks = std::max(sight.sinks, instruction.integer("sinks"));
    }
    return sight;
}

double seconds_between(Clock::time_point from, Clock::time_point to) {
    return std::chrono::duration<double>(to - from).count();
}

}  // namespace

Engine::Engine(std::shared_ptr<const Program> program, const std::vector<KvLayout>& layouts,
               EngineOptions options)
    : options_(std::move(options)),
      pool_(options_.threads > 0 ? options_.threads : default_threads(), true),
      cache_(layouts, options_.kv_pages, options_.prefix_cache, program->state_floats(),
             options_.state_slots, kv_place(*program, executor_options(options_))),
      leader_(leader_of(options_, cache_)),
      executor_(program, cache_.layers(), cache_.states().slots(), limits_of(options_), pool_,
                executor_options(options_)),
      decoder_(pool_, executor_.kernels(), cache_, options_.vocabulary, options_.context),
      scheduler_(cache_, executor_.limits(), cost_, sight_of(*program)),
      meter_(*program, cache_, pool_),
      owner_process_(getpid()) {
    if (leader_) {
        cache_.on_copy([this](int32_t from, int32_t to) { leader_->copy_page(from, to); });
    }
    thread_ = std::thread([this] { loop(); });
}

Engine::~Engine() {
    close();
}

std::shared_ptr<Request> Engine::submit(RequestSpec spec) {
    int64_t prompt = int64_t(spec.prompt.size());
    require(prompt > 0, "the prompt is empty: it needs at least one token");
    int64_t pages = 0;
    for (const auto* given : {&spec.prompt, &spec.guidance.negative_prompt}) {
        int64_t count = int64_t(given->size());
        require(count <= options_.context, "the prompt has ", count,
                " tokens, the model's context holds ", options_.context);
        for (int32_t id : *given)
            require(id >= 0 && id < options_.vocabulary, "token id ", id,
                    " is outside the vocabulary [0, ", options_.vocabulary, ")");
        pages += pages_for(count);
    }
    require(spec.outputs_from >= 0 && spec.outputs_from < prompt, "start=", spec.outputs_from,
            " must be a position of the prompt's ", prompt, " tokens");
    if (forked())
        throw std::runtime_error(
            "this model was loaded before a fork; threads do not survive a fork: load it in the "
            "child process (multiprocessing: use the 'spawn' start method)");
    require(pages <= cache_.pages(), "the prompt needs ", pages, " KV pages, the cache has ",
            cache_.pages(), "; load the model with more kv_cache_bytes");
    check_beams(spec);
    auto request = std::make_shared<Request>(std::move(spec), options_.context);
    std::lock_guard lock(mutex_);
    if (closing_) throw std::runtime_error("the model is closed");
    if (int64_t(scheduler_.waiting()) >= options_.queue)
        throw QueueFull(cat(scheduler_.waiting(),
                            " requests wait already, the most that queue_limit=", options_.queue,
                            " allows; try again later"));
    if (request->spec.deadline != Clock::time_point::max()) {
        double left = seconds_between(Clock::now(), request->spec.deadline);
        double needed = scheduler_.first_token_seconds(request->spec);
        if (needed > left)
            throw DeadlineError(cat("deadline_ms leaves ", int64_t(left * 1e3),
                                    " ms, but the first token is expected after ",
                                    int64_t(needed * 1e3), " ms: ", prompt, " prompt tokens, ",
                                    scheduler_.running().size(), " requests running, ",
                                    scheduler_.waiting(), " waiting"));
    }
    scheduler_.add(request);
    work_.notify_one();
    return request;
}

void Engine::check_beams(const RequestSpec& spec) const {
    const BeamParams& beams = spec.beams;
    int64_t most = std::min(executor_.limits().sequences, executor_.limits().outputs);
    require(beams.count >= 1 && beams.count <= most, "num_beams=", beams.count, " must be 1 to ",
            most);
    require(beams.groups >= 1 && beams.count % beams.groups == 0, "num_beam_groups=", beams.groups,
            " must divide num_beams=", beams.count);
    for (const auto& phrase : beams.required)
        for (int32_t id : phrase)
            require(id >= 0 && id < options_.vocabulary, "required names token id ", id,
                    ", outside the vocabulary [0, ", options_.vocabulary, ")");
    if (beams.count == 1) return;
    require(spec.max_tokens > 0, "a beam search needs max_tokens above 0");
    require(spec.guidance.negative_prompt.empty(), "a beam search goes without guidance");
}

void Engine::cancel(Request& request) {
    request.cancel();
    std::lock_guard lock(mutex_);
    // A step is left at once when nobody in it wants its result any more.
    bool wanted = std::any_of(shares_.begin(), shares_.end(),
                              [](const Share& s) { return !s.request->cancelled.load(); });
    if (!shares_.empty() && !wanted) abort_step_.store(true);
    work_.notify_one();
}

void Engine::close() {
    if (forked()) return;  // there is no thread to join
    {
        std::lock_guard lock(mutex_);
        closing_ = true;
        abort_step_.store(true);
        for (const auto& request : scheduler_.all()) request->cancel();
        if (options_.ranks) options_.ranks->leave();  // or a step would wait for one that hangs
        work_.notify_one();
    }
    if (thread_.joinable()) thread_.join();
}

bool Engine::forked() const {
    return getpid() != owner_process_;
}

std::shared_ptr<DraftModel> Engine::draft_model(std::shared_ptr<const Program> program,
                                                const std::vector<KvLayout>& layouts,
                                                int64_t context) {
    require(program->state_floats() == 0 && !cache_.states().any(),
            "from recurrent state no wrong guess can be taken back");
    Limits limits = executor_.limits();
    limits.context = context;
    return std::make_shared<DraftModel>(std::move(program), layouts, options_.kv_pages, limits,
                                        options_.vocabulary, pool_,
                                        ExecutorOptions{options_.isa, false, options_.check});
}

std::map<std::string, double> Engine::stats() const {
    std::lock_guard lock(mutex_);
    std::map<std::string, double> stats;
    meter_.report(stats);
    stats["running"] = double(scheduler_.running().size());
    stats["waiting"] = double(scheduler_.waiting());
    stats["kv_pages"] = double(cache_.pages());
    stats["kv_pages_used"] = double(cache_.in_use());
    stats["kv_pages_free"] = double(cache_.available());
    stats["kv_pages_kept"] = double(cache_.kept());
    stats["state_slots"] = double(cache_.states().count());
    stats["state_slots_used"] = double(cache_.states().in_use());
    stats["state_snapshots"] = double(cache_.states().snapshots());
    return stats;
}

void Engine::loop() {
    meter_.wake();
    while (plan_step()) {
        if (shares_.empty()) continue;
        try {
            run_step();
        } catch (const std::exception& error) {
            std::lock_guard lock(mutex_);
            const FinishReason reason = closing_ ? FinishReason::cancelled : FinishReason::error;
            for (Share& share : shares_)
                finish(share.request, reason, closing_ ? "" : error.what());
        }
    }
}

bool Engine::plan_step() {
    std::unique_lock lock(mutex_);
    shares_.clear();
    if (scheduler_.idle()) {
        work_.wait(lock, [&] { return closing_ || !scheduler_.idle(); });
        meter_.wake();
    }
    if (closing_) {
        for (const auto& request : scheduler_.all()) finish(request, FinishReason::cancelled);
        return false;
    }
    double begin = thread_cpu_seconds();
    Clock::time_point now = Clock::now();
    end_overdue(now);
    shares_ = scheduler_.next_step(now);
    for (const auto& request : scheduler_.take_exhausted()) finish(request, FinishReason::length);
    abort_step_.store(false);
    meter_.planned(thread_cpu_seconds() - begin);
    return true;
}

// Those that were cancelled, and those whose time is over, end with what there is.
void Engine::end_overdue(Clock::time_point now) {
    auto overdue = scheduler_.those([&](const Request& request) {
        return request.cancelled.load() || request.spec.deadline <= now;
    });
    for (const auto& request : overdue)
        finish(request,
               request->cancelled.load() ? FinishReason::cancelled : FinishReason::deadline);
}

// The tokens that were planned to be guessed by other models; how long that took.
double Engine::ask_draft_models() {
    std::map<DraftModel*, std::vector<DraftJob>> jobs;
    for (Share& share : shares_) {
        Request& request = *share.request;
        if (share.draft.by_model)
            jobs[request.spec.draft_model.get()].push_back(
                {request.draft_context, request.context, share.draft.tokens});
    }
    if (jobs.empty()) return 0;
    Clock::time_point begin = Clock::now();
    for (auto& [model, asked] : jobs) model->guess(asked, &abort_step_);
    for (Share& share : shares_) {
        if (!share.draft.by_model) continue;
        share.rows = share.outputs = 1 + std::ssize(share.draft.tokens);
    }
    return seconds_between(begin, Clock::now());
}

void Engine::run_step() {
    double drafting = ask_draft_models();
    token_ids_.clear();
    positions_.clear();
    output_rows_.clear();
    spans_.clear();
    draws_.clear();
    for (const Share& share : shares_) {
        const Sequence& sequence = *share.sequence;
        int64_t row = int64_t(token_ids_.size());
        const KvSequence& kv = sequence.kv;
        spans_.push_back({row, share.rows, share.start, kv.pages.data(), kv.state, kv.state_out()});
        const std::vector<int32_t>& draft = share.draft.tokens;
        if (const auto& masks = share.request->spec.masks; masks && !draft.empty())
            masks->post_draft(draft);
        auto context = sequence.context.begin() + share.start;
        token_ids_.insert(token_ids_.end(), context, context + (share.rows - std::ssize(draft)));
        token_ids_.insert(token_ids_.end(), draft.begin(), draft.end());
        for (int64_t i = 0; i < share.rows; ++i) positions_.push_back(int32_t(share.start + i));
        for (int64_t i = share.rows - share.outputs; i < share.rows; ++i)
            output_rows_.push_back(int32_t(row + i));
        for (int64_t i = share.continuing_rows() - share.outputs; i < share.continuing_rows(); ++i)
            draws_.push_back(i < 0 || share.wants_outputs() ? RowDraw{}
                                                            : decoder_.row_draw(*share.request, i));
    }
    Step step{int64_t(token_ids_.size()), token_ids_.data(),
              positions_.data(),          int64_t(output_rows_.size()),
              output_rows_.data(),        spans_.data(),
              int64_t(spans_.size()),     executor_.draws() ? draws_.data() : nullptr};
    Clock::time_point begin = Clock::now();
    if (leader_) leader_->step(step);
    if (executor_.run(step, &abort_step_)) collect(seconds_between(begin, Clock::now()), drafting);
}

// Takes the step's logits to those who asked for them.
void Engine::collect(double seconds, double drafting_seconds) {
    float* logits = const_cast<float*>(executor_.output());
    const DrawnRow* drawn = executor_.drawn();
    const ToldRow* told = executor_.told();
    std::vector<Draw> draws;
    for (const Share& share : shares_) {
        if (share.wants_outputs()) prompt_outputs(share, logits);
        logits += share.outputs * options_.vocabulary;
        if (drawn) drawn += share.outputs;
        if (told) told += share.outputs;
        int64_t rows = share.continuing_rows();
        if (rows == 0) continue;
        if (!draws.empty() && draws.back().request == share.request)
            ++draws.back().beams;
        else
            draws.push_back({share.request, logits - rows * options_.vocabulary, 1,
                             share.draft.tokens, drawn ? drawn - rows : nullptr,
                             told ? told - rows : nullptr});
    }
    decoder_.draw(draws);

    std::lock_guard lock(mutex_);
    double begin = thread_cpu_seconds();
    StepSize size;
    for (const Share& share : shares_) size.add(share.start, share.rows);
    double attention = executor_.attention_seconds();
    cost_.record(size, attention, seconds - attention);
    for (const Draw& draw : draws)
        for (const DrawnToken& token : draw.tokens) meter_.drawn(token.there);
    meter_.step(shares_, scheduler_.running(), drafting_seconds + seconds, attention);
    // Accepting a draw changes a search's beams, and may end a request: what is computed beside its
    // own sequence is in the cache before.
    for (const Share& share : shares_)
        if (share.sequence != share.request.get() || share.request->search)
            scheduler_.computed(share, 0);
    auto draw = draws.begin();
    for (const Share& share : shares_) {
        Outcome outcome;
        bool draws_now = draw != draws.end() && draw->request == share.request;
        if (draws_now) outcome = decoder_.accept(*draw++);
        if (!share.request->search && share.sequence == share.request.get()) {
            if (!draws_now && share.reaches_end()) outcome.reason = FinishReason::length;
            share.request->speculation.verified(share.draft, outcome.rejected);
            scheduler_.computed(share, outcome.rejected);
        }
        if (outcome.reason != FinishReason::none)
            finish(share.request, outcome.reason, outcome.error);
    }
    meter_.planned(thread_cpu_seconds() - begin);
}

void Engine::prompt_outputs(const Share& share, const float* logits) {
    Request& request = *share.request;
    const std::vector<int32_t>& prompt = request.spec.prompt;
    size_t v = size_t(options_.vocabulary);
    if (request.spec.prompt_outputs == PromptOutputs::logits) {
        size_t from = size_t(request.spec.outputs_from);
        request.prompt_logits.resize((prompt.size() - from) * v);
        std::copy_n(
            logits, size_t(share.outputs) * v,
            request.prompt_logits.begin() + std::ptrdiff_t((size_t(share.start) - from) * v));
        return;
    }
    request.prompt_logprobs.resize(prompt.size() - 1);
    for (int64_t i = 0; i < share.outputs; ++i) {
        size_t next = size_t(share.start + i + 1);
        if (next >= prompt.size()) break;
        request.prompt_logprobs[next - 1] =
            decoder_.told(logits + size_t(i) * v, prompt[next], request.spec.sampling.logprobs);
    }
}

// Needs the mutex.
void Engine::finish(const std::shared_ptr<Request>& request, FinishReason reason,
                    const std::string& error) {
    scheduler_.remove(request);
    std::lock_guard lock(request->mutex);
    if (request->finish != FinishReason::none) return;
    if (request->search) request->hypotheses = request->search->results();
    meter_.finished(*request);
    request->finish = reason;
    request->error = error;
    request->finished = Clock::now();
    request->notify();
}

}  // namespace genfast

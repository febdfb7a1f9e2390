#include "engine/draft_model.h"

#include <algorithm>
#include <chrono>

namespace genfast {
namespace {

// Rows of a context that grew by a token or two since the last draft.
constexpr int64_t kUsualRows = 2;

}  // namespace

// A job under way: `rows` are computed in the next step.
struct DraftModel::Work {
    DraftJob& job;
    size_t wanted, guessed = 0;
    int64_t rows = 0;

    int64_t known() const { return int64_t(job.context.size() + guessed); }
    int64_t missing() const { return known() - std::ssize(job.held.tokens); }
    int32_t token(int64_t at) const {
        int64_t beyond = at - std::ssize(job.context);
        return beyond < 0 ? job.context[size_t(at)] : job.guesses[size_t(beyond)];
    }
};

DraftModel::DraftModel(std::shared_ptr<const Program> program, const std::vector<KvLayout>& layouts,
                       int64_t kv_pages, const Limits& limits, int64_t vocabulary, ThreadPool& pool,
                       const ExecutorOptions& options)
    : vocabulary_(vocabulary),
      cache_(layouts, kv_pages, true, 0, 0, kv_place(*program, options)),
      executor_(std::move(program), cache_.layers(), {}, limits, pool, options),
      scratch_(sample_scratch_bytes(vocabulary)) {}

double DraftModel::seconds(int64_t guesses) const {
    StepSize first, next;
    first.add(0, kUsualRows);
    next.add(0, 1);
    return cost_.seconds(first) + double(guesses - 1) * cost_.seconds(next);
}

// Guesses that proved wrong are forgotten; what is known of the prompt from other requests is used.
void DraftModel::keep_what_holds(DraftJob& job) {
    DraftContext& held = job.held;
    const std::vector<int32_t>& context = job.context;
    if (held.kv.pages.empty()) {
        int64_t found = cache_.attach(held.kv, context, std::ssize(context) - 1);
        held.tokens.assign(context.begin(), context.begin() + found);
        return;
    }
    auto most = std::min(held.tokens.size(), context.size() - 1);  // one is left to compute
    auto end = held.tokens.begin() + std::ptrdiff_t(most);
    held.tokens.erase(std::mismatch(held.tokens.begin(), end, context.begin()).first,
                      held.tokens.end());
    cache_.remember(held.kv, held.tokens, std::ssize(held.tokens));
}

bool DraftModel::guess(std::vector<DraftJob>& jobs, const std::atomic<bool>* cancel) {
    std::vector<Work> works;
    for (DraftJob& job : jobs) {
        keep_what_holds(job);
        works.push_back({job, job.guesses.size()});
    }
    bool finished = true;
    std::vector<Work*> step;
    for (bool first = true; finished; first = false) {
        step.clear();
        int64_t left = executor_.limits().tokens;
        for (Work& work : works) {
            // A long context takes several steps of the engine: one step of this model in each.
            if (work.guessed == work.wanted || (!first && work.missing() > 1)) continue;
            work.rows = std::min(work.missing(), left);
            int64_t tokens = std::ssize(work.job.held.tokens) + work.rows;
            if (work.rows == 0 || tokens > context() || !cache_.grow(work.job.held.kv, tokens))
                continue;
            left -= work.rows;
            step.push_back(&work);
        }
        if (step.empty()) break;
        finished = run(step, cancel);
    }
    for (Work& work : works) work.job.guesses.resize(work.guessed);
    return finished;
}

bool DraftModel::run(std::vector<Work*>& step, const std::atomic<bool>* cancel) {
    auto begin = std::chrono::steady_clock::now();
    std::vector<int32_t> token_ids, positions, output_rows;
    std::vector<SequenceSpan> spans;
    StepSize size;
    for (Work* work : step) {
        int64_t start = std::ssize(work->job.held.tokens);
        spans.push_back({std::ssize(token_ids), work->rows, start, work->job.held.kv.pages.data()});
        size.add(start, work->rows);
        for (int64_t i = start; i < start + work->rows; ++i) {
            token_ids.push_back(work->token(i));
            positions.push_back(int32_t(i));
        }
        if (work->rows == work->missing())
            output_rows.push_back(int32_t(std::ssize(token_ids) - 1));
    }
    Step inputs{std::ssize(token_ids), token_ids.data(), positions.data(), std::ssize(output_rows),
                output_rows.data(),    spans.data(),     std::ssize(spans)};
    if (!executor_.run(inputs, cancel)) return false;

    const float* logits = executor_.output();
    for (Work* work : step) {
        std::vector<int32_t>& held = work->job.held.tokens;
        bool reached_end = work->rows == work->missing();
        for (int64_t i = 0; i < work->rows; ++i) held.push_back(work->token(std::ssize(held)));
        if (!reached_end) continue;
        SampleArgs args{};
        args.logits = logits;
        args.scratch = scratch_.data();
        args.token = &work->job.guesses[work->guessed];
        args.V = vocabulary_;
        args.top_p = 1;
        Team alone;
        executor_.kernels().sample(args, alone);
        logits += vocabulary_;
        // Where no logit is a finite number there is no guess, and no further one.
        if (*args.token < 0)
            work->wanted = work->guessed;
        else
            ++work->guessed;
    }
    std::chrono::duration<double> took = std::chrono::steady_clock::now() - begin;
    double attention = executor_.attention_seconds();
    cost_.record(size, attention, took.count() - attention);
    return true;
}

}  // namespace genfast

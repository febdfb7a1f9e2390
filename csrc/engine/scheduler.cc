#include "engine/scheduler.h"

#include <algorithm>
#include <limits>

namespace genfast {
namespace {

constexpr int64_t kFewRows = 16;  // of a prompt: less is not worth a share of a step

bool waits_for_one(const Sequence& sequence) {
    return sequence.missing() == 1 && sequence.cached > 0;
}

bool decodes(const Request& request) {
    if (request.negative) return request.missing() == 1 && request.negative->missing() == 1;
    auto beams = request.beams();
    if (beams.empty()) return waits_for_one(request);
    return request.missing() == 0 && std::all_of(beams.begin(), beams.end(), waits_for_one);
}

// Of a request that does not decode, what is computed next: its own sequence, or the first that is
// behind the others. The last token of each, a beam or one of two prompts, waits for the others'.
Sequence& behind(Request& request) {
    if (request.negative) return request.missing() > 1 ? request : *request.negative;
    if (request.missing() > 0) return request;
    auto beams = request.beams();
    return *std::find_if_not(beams.begin(), beams.end(), waits_for_one);
}

// Of its prompts and what followed, were nothing of them shared: whether these fit decides where a
// request ends, which must not depend on what others have left in the cache.
int64_t pages_alone(const Request& request) {
    int64_t pages = pages_for(int64_t(request.context.size()));
    if (request.negative) pages += pages_for(int64_t(request.negative->context.size()));
    return pages;
}

int64_t rows_behind(const Request& request, const Sequence& sequence) {
    bool alone = &sequence == &request && !request.negative;
    return sequence.missing() - (alone ? 0 : 1);
}

bool wants_prompt_outputs(const RequestSpec& spec) {
    return spec.prompt_outputs != PromptOutputs::none;
}

// How many tokens of the context may come from the prefix tree: the last gives the logits.
int64_t reusable(const RequestSpec& spec, int64_t context) {
    if (!spec.reuse) return 0;
    return wants_prompt_outputs(spec) ? std::min(spec.outputs_from, context - 1) : context - 1;
}

double seconds_until(Clock::time_point deadline, Clock::time_point now) {
    if (deadline == Clock::time_point::max()) return std::numeric_limits<double>::infinity();
    return std::chrono::duration<double>(deadline - now).count();
}

}  // namespace

void Scheduler::add(Pointer request) {
    request->arrival = ++arrivals_;
    waiting_.insert(std::move(request));
}

void Scheduler::remove(const Pointer& request) {
    release(*request);
    if (request->spec.draft_model) request->spec.draft_model->release(request->draft_context);
    std::erase(running_, request);
    auto place = waiting_.find(request);
    if (place != waiting_.end()) waiting_.erase(place);
}

std::vector<Scheduler::Pointer> Scheduler::all() const {
    return those([](const Request&) { return true; });
}

std::vector<Share> Scheduler::next_step(Clock::time_point now) {
    std::vector<Share> step;
    tokens_left_ = limits_.tokens;
    outputs_left_ = limits_.outputs;
    admit();
    std::vector<Pointer> running = running_;  // room for one may be made by another's leaving
    StepSize size;
    for (const Pointer& request : running) {
        restore_beams(*request);
        if (decodes(*request)) decode(request, size, step);
    }
    for (Share& share : step) speculate(share, int64_t(step.size()), size);
    std::vector<Pointer> prompts;
    for (const Pointer& request : running_)
        if (!decodes(*request)) prompts.push_back(request);
    double limit =
        step.empty() ? std::numeric_limits<double>::infinity() : kStretch * cost_.seconds(size);
    size_t decoding = step.size();
    for (size_t i = 0; i < prompts.size() && tokens_left_ > 0; ++i) {
        const Pointer& request = prompts[i];
        Sequence& sequence = behind(*request);
        int64_t wanted = rows_behind(*request, sequence);
        int64_t rows = std::min(wanted, tokens_left_);
        if (request->spec.chunk > 0) rows = std::min(rows, request->spec.chunk);
        double soon = std::min(limit, 0.9 * seconds_until(request->spec.deadline, now));
        rows = cost_.rows_within(soon, size, sequence.cached, rows);
        if (i + 1 < prompts.size()) rows = std::min(rows, std::max(rows / 2, kFewRows));
        if (step.size() > decoding && rows < std::min(kFewRows, wanted)) break;
        rows = until_snapshot(request->spec, sequence, rows);
        if (!make_room(request, sequence, rows, step)) continue;
        size.add(sequence.cached, rows);
        take(request, sequence, rows, step);
    }
    return step;
}

// Of the next rows of a prompt, those up to where its state is worth a snapshot: the last page that
// the same prompt could begin after, the end of what the tree knew of it already (somebody else
// began alike, and others will), and any page, if the step does not reach those.
int64_t Scheduler::until_snapshot(const RequestSpec& spec, const Sequence& sequence,
                                  int64_t rows) const {
    if (!cache_.states().any() || !cache_.keeps()) return rows;
    const int64_t context = int64_t(sequence.context.size());
    const int64_t end = sequence.cached + rows;
    auto rows_to = [&](int64_t token) {
        const int64_t page = token / kPageTokens * kPageTokens;
        return page > sequence.cached && page < end ? page - sequence.cached : rows;
    };
    const int64_t least = std::min(rows_to(sequence.kv.branch), rows_to(reusable(spec, context)));
    return least < rows || end == context ? least : rows_to(end);
}

void Scheduler::decode(const Pointer& request, StepSize& size, std::vector<Share>& step) {
    if (request->negative && sight_.window == 0 && pages_alone(*request) > cache_.pages()) {
        exhausted_.push_back(request);
        return;
    }
    std::vector<Sequence*> sequences = request->together();
    int64_t count = int64_t(sequences.size());
    if (count > std::min(tokens_left_, outputs_left_) ||
        int64_t(step.size()) + count > limits_.sequences)
        return;
    for (Sequence* sequence : sequences)
        if (!make_room(request, *sequence, 1, step)) return;
    for (Sequence* sequence : sequences) {
        size.add(sequence->cached, 1);
        take(request, *sequence, 1, step);
    }
}

void Scheduler::take(const Pointer& request, Sequence& sequence, int64_t rows,
                     std::vector<Share>& step) {
    const RequestSpec& spec = request->spec;
    int64_t known = int64_t(sequence.context.size()), cached = sequence.cached;
    bool wants_prompt = wants_prompt_outputs(spec) && cached < int64_t(spec.prompt.size());
    if (wants_prompt) {
        // Rows before the first wanted one give no outputs: they end a step of their own.
        if (cached < spec.outputs_from)
            rows = std::min(rows, spec.outputs_from - cached);
        else
            rows = std::min(rows, outputs_left_);
    }
    // A prompt that is computed again for its beams has given its logits already.
    bool continued = &sequence == request.get() && !request->beams().empty();
    bool draws = cached + rows == known && spec.max_tokens > 0 && !continued;
    int64_t outputs = wants_prompt ? (cached < spec.outputs_from ? 0 : rows) : draws ? 1 : 0;
    if (rows <= 0 || outputs > outputs_left_ || int64_t(step.size()) >= limits_.sequences) return;
    step.push_back({request, cached, rows, outputs, &sequence});
    tokens_left_ -= rows;
    outputs_left_ -= outputs;
}

// More rows for what may come next, as far as there is room that nobody else needs now.
void Scheduler::speculate(Share& share, int64_t requests, StepSize& size) {
    Request& request = *share.request;
    if (request.search || request.negative || cache_.states().any()) return;
    const RequestSpec& spec = request.spec;
    if (wants_prompt_outputs(spec)) return;
    int64_t known = int64_t(request.context.size());
    int64_t wanted = spec.max_tokens - (known - int64_t(spec.prompt.size())) - 1;
    int64_t most = std::min({wanted, limits_.context - known, outputs_left_, tokens_left_});
    std::vector<int32_t> forced;
    if (spec.masks) forced = spec.masks->forced();
    Draft draft =
        request.speculation.draft(request.context, most, {cost_, size, share.start, requests},
                                  spec.draft_model.get(), forced);
    if (!cache_.grow(request.kv, known + int64_t(draft.tokens.size()))) {
        int64_t room = int64_t(request.kv.pages.size()) * kPageTokens - known;
        draft.tokens.resize(size_t(room));
    }
    if (draft.tokens.empty()) return;
    int64_t rows = int64_t(draft.tokens.size());
    size.extend(share.start, share.rows, share.rows + rows);
    share.rows += rows;
    share.outputs += rows;
    share.draft = std::move(draft);
    tokens_left_ -= rows;
    outputs_left_ -= rows;
}

void Scheduler::computed(const Share& share, int64_t rejected) {
    Sequence& sequence = *share.sequence;
    sequence.cached = share.start + share.rows - rejected;
    cache_.settle(sequence.kv);
    cache_.remember(sequence.kv, sequence.context, sequence.cached, share.rows == 1);
    if (sight_.window > 0)
        cache_.forget(sequence.kv, sight_.sinks, sequence.cached - sight_.window + 1);
}

void Scheduler::admit() {
    for (auto next = waiting_.begin(); next != waiting_.end();) {
        Pointer request = *next;
        if (is_being_computed(*request)) {
            ++next;
            continue;
        }
        if (int64_t(running_.size()) >= limits_.sequences) {
            if (running_.back()->spec.priority >= request->spec.priority) break;
            preempt(running_.back());
        }
        bool started = start(request);
        while (!started && exhausted_.empty() && !running_.empty() &&
               running_.back()->spec.priority < request->spec.priority) {
            preempt(running_.back());
            started = start(request);
        }
        if (!started) break;
        next = waiting_.erase(waiting_.find(request));
        running_.insert(std::upper_bound(running_.begin(), running_.end(), request, Before{}),
                        request);
    }
}

bool Scheduler::start(const Pointer& request) {
    // With a window, pages come back while a prompt is prefilled: it gets them step by step.
    bool whole = sight_.window == 0;
    std::vector<Sequence*> prompts{request.get()};
    if (request->negative) prompts.push_back(request->negative.get());
    if (whole && pages_alone(*request) > cache_.pages()) {
        exhausted_.push_back(request);
        return false;
    }
    for (Sequence* prompt : prompts) {
        int64_t context = int64_t(prompt->context.size());
        prompt->cached =
            cache_.attach(prompt->kv, prompt->context, reusable(request->spec, context));
        int64_t tokens = whole ? context : std::min(context, prompt->cached + limits_.tokens);
        if (!cache_.own(prompt->kv, prompt->cached) || !cache_.grow(prompt->kv, tokens)) {
            release(*request);
            return false;
        }
    }
    if (request->started == Clock::time_point{}) {
        request->started = Clock::now();
        request->prompt_cached = std::min(request->cached, int64_t(request->spec.prompt.size()));
    }
    return true;
}

// Whether another one's prefill will soon leave more of this request's prefix in the cache than is
// there now: then it is worth waiting for.
bool Scheduler::is_being_computed(const Request& request) const {
    int64_t limit = reusable(request.spec, int64_t(request.context.size()));
    if (!cache_.keeps() || limit < kPageTokens) return false;
    int64_t known = -1;
    for (const Pointer& other : running_) {
        if (decodes(*other)) continue;
        int64_t most = std::min(limit, int64_t(other->context.size()));
        auto end = request.context.begin() + most;
        int64_t common = std::mismatch(request.context.begin(), end, other->context.begin()).first -
                         request.context.begin();
        common -= common % kPageTokens;
        if (common <= other->cached || common == 0) continue;
        if (known < 0) known = cache_.known(request.context, limit);
        if (common > known) return true;
    }
    return false;
}

// Pages for the next rows, if need be those of the last in order. False: the request itself left.
bool Scheduler::make_room(const Pointer& request, Sequence& sequence, int64_t rows,
                          const std::vector<Share>& step) {
    if (request->kv.pages.empty()) return false;
    while (!cache_.own(sequence.kv, sequence.cached) ||
           !cache_.grow(sequence.kv, sequence.cached + rows)) {
        auto in_step = [&](const Pointer& other) {
            return std::any_of(step.begin(), step.end(),
                               [&](const Share& share) { return share.request == other; });
        };
        Pointer victim;
        for (const Pointer& other : running_)
            if (!in_step(other)) victim = other;
        if (victim == request && running_.size() == 1) {
            exhausted_.push_back(request);
            return false;
        }
        preempt(victim);  // there is one: the request itself is not in the step
        if (victim == request) return false;
    }
    return true;
}

// The beams of a search that gave its pages back, one after the other: each from the longest
// beginning that is there by then.
void Scheduler::restore_beams(Request& request) {
    if (request.missing() > 0) return;
    for (Beam& beam : request.beams()) {
        if (beam.cached == 0) restore(request, beam);
        if (!waits_for_one(beam)) return;
    }
}

void Scheduler::restore(Request& request, Beam& beam) {
    int64_t most = int64_t(beam.context.size()) - 1;
    if (cache_.known(beam.context, most) > request.cached) {
        beam.cached = cache_.attach(beam.kv, beam.context, most);
        return;
    }
    const Sequence* from = &request;
    beam.cached = request.cached;
    // Without a prefix tree another beam may have more. With a window it may have forgotten it.
    for (const Beam& other : request.beams()) {
        if (&other == &beam || cache_.keeps() || sight_.window > 0 || cache_.states().any()) break;
        auto end = beam.context.begin() + most;
        int64_t common = std::mismatch(beam.context.begin(), end, other.context.begin()).first -
                         beam.context.begin();
        if (common <= beam.cached) continue;
        from = &other;
        beam.cached = common;
    }
    beam.kv = from == &request ? cache_.fork(from->kv) : cache_.fork(from->kv, beam.cached);
}

void Scheduler::release(Request& request) {
    for (Beam& beam : request.beams()) {
        cache_.release(beam.kv);
        beam.cached = 0;
    }
    if (request.negative) {
        cache_.release(request.negative->kv);
        request.negative->cached = 0;
    }
    cache_.release(request.kv);
    request.cached = 0;
}

void Scheduler::preempt(Pointer victim) {
    release(*victim);
    std::erase(running_, victim);
    waiting_.insert(std::move(victim));
}

double Scheduler::first_token_seconds(const RequestSpec& spec) const {
    if (!cost_.known()) return 0;
    auto prefill = [&](const std::vector<int32_t>& context, int64_t start) {
        return cost_.prefill_seconds(start, int64_t(context.size()) - start, limits_.tokens);
    };
    double seconds = 0;
    for (const auto* prompt : {&spec.prompt, &spec.guidance.negative_prompt})
        if (!prompt->empty())
            seconds += prefill(*prompt, cache_.known(*prompt, int64_t(prompt->size()) - 1));
    auto prefill_rest = [&](const Request& request) {
        double rest = prefill(request.context, request.cached);
        const Sequence* negative = request.negative.get();
        return negative ? rest + prefill(negative->context, negative->cached) : rest;
    };
    bool others_decode = false;
    for (const Pointer& request : running_) {
        if (decodes(*request))
            others_decode = true;
        else if (request->spec.priority >= spec.priority)
            seconds += prefill_rest(*request);
    }
    for (const Pointer& request : waiting_)
        if (request->spec.priority >= spec.priority) seconds += prefill_rest(*request);
    // Beside requests that decode, prompts get their part of each step only.
    return others_decode ? seconds * kStretch / (kStretch - 1) : seconds;
}

}  // namespace genfast

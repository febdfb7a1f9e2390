#include "engine/decoder.h"

#include <algorithm>
#include <cmath>

#include "core/digest.h"

namespace genfast {
namespace {

bool is_stop(const Request& request, int32_t token) {
    const std::vector<int32_t>& stops = request.spec.sampling.stop_ids;
    return std::find(stops.begin(), stops.end(), token) != stops.end();
}

int64_t longest(const Request& request) {
    size_t own = request.context.size();
    return int64_t(request.negative ? std::max(own, request.negative->context.size()) : own);
}

// Of the token that a row of the request's next step gives.
int64_t position_of(const Request& request, int64_t row) {
    return int64_t(request.context.size()) + row;
}

constexpr const char* kNoNumbers =
    "the model's logits hold no finite number: its weights or inputs overflow (try "
    "dtype=\"float32\")";

}  // namespace

Decoder::Decoder(ThreadPool& pool, const Kernels& kernels, KvCache& cache, int64_t vocabulary,
                 int64_t context)
    : pool_(pool), kernels_(kernels), cache_(cache), vocabulary_(vocabulary), context_(context) {
    for (int i = 0; i < pool.size(); ++i)
        scratch_.emplace_back(BeamSearch::scratch_bytes(vocabulary));
}

RowDraw Decoder::row_draw(const Request& request, int64_t row) const {
    if (request.search || request.negative || request.spec.masks) return {};
    return request.sampler.row_draw(vocabulary_, position_of(request, row));
}

void Decoder::draw(std::vector<Draw>& draws) {
    for (Draw& draw : draws)
        if (const auto& masks = draw.request->spec.masks)
            draw.grammar = masks->wait(draw.request->cancelled, draw.request->spec.deadline)
                               ? masks->row(0)
                               : TokenMasks::Answer{Verdict::abandoned};
    struct Part {
        Draw* draw;
        int64_t beam;
    };
    std::vector<Part> parts;
    for (Draw& draw : draws) {
        int64_t count = draw.request->search ? draw.beams : 1;
        for (int64_t beam = 0; beam < count; ++beam) parts.push_back({&draw, beam});
    }
    auto work = [&](Team& team) {
        Range mine = share(int64_t(parts.size()), team);
        for (int64_t i = mine.begin; i < mine.end; ++i) {
            auto [draw, beam] = parts[size_t(i)];
            std::byte* scratch = scratch_[size_t(team.index)].data();
            if (draw->request->search)
                score_beam(*draw, beam, scratch);
            else
                draw_rows(*draw, scratch);
        }
    };
    Team alone;
    if (parts.size() > 1)
        pool_.run(work);
    else
        work(alone);
}

static bool is_lost(const TokenMasks::Answer& grammar) {
    return grammar.verdict == Verdict::failed || grammar.verdict == Verdict::abandoned;
}

void Decoder::score_beam(const Draw& draw, int64_t beam, std::byte* scratch) const {
    if (is_lost(draw.grammar)) return;
    const auto& masks = draw.request->spec.masks;
    draw.request->search->score(beam, draw.logits + beam * vocabulary_, vocabulary_, kernels_,
                                scratch, masks ? masks->row(size_t(beam)) : TokenMasks::Answer{});
}

// Row after row, as long as what is drawn is what the next row was computed for. The state of the
// request's sampler moves on between rows, so each token is the one that a step of its own would
// have given.
void Decoder::draw_rows(Draw& draw, std::byte* scratch) const {
    Request& request = *draw.request;
    TokenMasks* masks = request.spec.masks.get();
    if (is_lost(draw.grammar)) return;
    if (request.negative)
        guide(draw.logits, draw.logits + vocabulary_, vocabulary_, request.spec.guidance.scale);
    for (size_t row = 0; !masks || row < masks->rows(); ++row) {
        if (masks) draw.grammar = masks->row(row);
        if (draw.grammar.verdict != Verdict::open) return;
        const DrawnToken& drawn = draw.tokens.emplace_back(next_token(draw, row, scratch));
        if (drawn.id < 0) return;
        request.sampler.accept(drawn.id);
        bool held = row < draw.draft.size() && draw.draft[row] == drawn.id;
        if (!held || is_stop(request, drawn.id)) return;
    }
}

DrawnToken Decoder::next_token(const Draw& draw, size_t row, std::byte* scratch) const {
    Request& request = *draw.request;
    DrawnToken drawn;
    if (draw.drawn) drawn.there = draw.drawn[row].token;
    if (drawn.there > kUnsure) {
        drawn.id = drawn.there;
        drawn.digest = draw.drawn[row].digest;
        if (request.spec.sampling.logprobs >= 0 && drawn.id >= 0)
            drawn.logprobs = token_logprobs(draw.told[row]);
        return drawn;
    }
    float* logits = draw.logits + int64_t(row) * vocabulary_;
    drawn.digest = digest_row(logits, vocabulary_);
    drawn.id = request.sampler.next(logits, vocabulary_, position_of(request, int64_t(row)),
                                    kernels_, scratch, &drawn.logprobs, draw.grammar.allowed);
    return drawn;
}

// For a draw whose last row gave no token.
void Decoder::end(const Draw& draw, Outcome& outcome) const {
    const auto& masks = draw.request->spec.masks;
    switch (draw.grammar.verdict) {
        case Verdict::complete:
            outcome.reason = FinishReason::stop;
            return;
        case Verdict::dead_end:
            outcome.reason = FinishReason::grammar;
            return;
        case Verdict::failed:
            outcome.reason = FinishReason::error;
            outcome.error = masks->error().c_str();
            return;
        case Verdict::abandoned:
            return;  // the next step's plan ends the request
        case Verdict::open:
            break;
    }
    // What the grammar allows may be what the other keywords forbid.
    const float* logits = draw.logits + (std::ssize(draw.tokens) - 1) * vocabulary_;
    if (masks &&
        std::none_of(logits, logits + vocabulary_, [](float logit) { return std::isnan(logit); })) {
        outcome.reason = FinishReason::grammar;
        return;
    }
    outcome.reason = FinishReason::error;
    outcome.error = kNoNumbers;
}

Outcome Decoder::accept(Draw& draw) const {
    Request& request = *draw.request;
    if (request.search) return accept_beams(draw);
    const RequestSpec& spec = request.spec;
    Outcome outcome;
    // Each drawn token but the first has the row of one that held.
    int64_t drafted = std::ssize(draw.draft);
    int64_t held = std::max<int64_t>(std::ssize(draw.tokens) - 1, 0);
    outcome.rejected = drafted - held;
    std::lock_guard lock(request.mutex);
    if (drafted > 0) request.drafts.add(drafted, held);
    if (request.tokens.empty() && !draw.tokens.empty()) request.first_token = Clock::now();
    std::vector<int32_t> accepted;
    for (DrawnToken& token : draw.tokens) {
        if (token.id < 0) {
            end(draw, outcome);
            return outcome;
        }
        request.context.push_back(token.id);
        if (request.negative) request.negative->context.push_back(token.id);
        request.tokens.push_back(token.id);
        request.digests.push_back(token.digest);
        if (spec.sampling.logprobs >= 0) request.logprobs.push_back(std::move(token.logprobs));
        if (is_stop(request, token.id))
            outcome.reason = FinishReason::stop;
        else if (int64_t(request.tokens.size()) >= spec.max_tokens ||
                 longest(request) > context_)  // the last token needs no place
            outcome.reason = FinishReason::length;
        if (outcome.reason != FinishReason::none) return outcome;
        accepted.push_back(token.id);
    }
    if (draw.grammar.verdict != Verdict::open)
        end(draw, outcome);
    else if (spec.masks)
        spec.masks->post(accepted);
    request.notify();
    return outcome;
}

Outcome Decoder::accept_beams(const Draw& draw) const {
    Request& request = *draw.request;
    const auto& masks = request.spec.masks;
    if (is_lost(draw.grammar)) {
        Outcome outcome;
        end(draw, outcome);
        return outcome;
    }
    {
        std::lock_guard lock(request.mutex);
        if (request.first_token == Clock::time_point{}) request.first_token = Clock::now();
    }
    switch (request.search->advance(cache_, request)) {
        case BeamSearch::Progress::going_on:
            if (masks) {
                std::vector<TokenMasks::Branch> branches;
                for (const Beam& beam : request.beams())
                    branches.push_back({beam.parent, beam.context.back()});
                masks->post_beams(std::move(branches));
            }
            return {};
        case BeamSearch::Progress::no_numbers:
            return {FinishReason::error, kNoNumbers};
        case BeamSearch::Progress::over:
            break;
    }
    // What each hypothesis ended with is told with it.
    return {masks && request.search->results().empty() ? FinishReason::grammar
                                                       : FinishReason::length};
}

TokenLogprobs Decoder::told(const float* logits, int32_t token, int64_t top) {
    return token_logprobs(logits, vocabulary_, token, std::max<int64_t>(top, 0), kernels_,
                          scratch_[0].data());
}

}  // namespace genfast

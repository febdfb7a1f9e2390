#include "engine/decoder.h"

#include <algorithm>

#include "core/digest.h"

namespace genfast {

Decoder::Decoder(ThreadPool& pool, const Kernels& kernels, int64_t vocabulary, int64_t context)
    : pool_(pool), kernels_(kernels), vocabulary_(vocabulary), context_(context) {
    for (int i = 0; i < pool.size(); ++i) scratch_.emplace_back(sampler_scratch_bytes(vocabulary));
}

void Decoder::draw(std::vector<Draw>& draws) {
    auto work = [&](Team& team) {
        Range mine = share(int64_t(draws.size()), team);
        for (int64_t i = mine.begin; i < mine.end; ++i) {
            Draw& draw = draws[size_t(i)];
            draw.tokens.push_back(
                next_token(*draw.request, draw.logits, scratch_[size_t(team.index)].data()));
        }
    };
    Team alone;
    if (draws.size() > 1)
        pool_.run(work);
    else
        work(alone);
}

DrawnToken Decoder::next_token(Request& request, float* logits, std::byte* scratch) const {
    DrawnToken drawn;
    drawn.digest = digest64(logits, size_t(vocabulary_) * sizeof(float));
    drawn.id = request.sampler.next(logits, vocabulary_, int64_t(request.context.size()), kernels_,
                                    scratch, &drawn.logprobs);
    return drawn;
}

Outcome Decoder::accept(Draw& draw) const {
    Request& request = *draw.request;
    const RequestSpec& spec = request.spec;
    const std::vector<int32_t>& stops = spec.sampling.stop_ids;
    Outcome outcome;
    std::lock_guard lock(request.mutex);
    if (request.tokens.empty()) request.first_token = Clock::now();
    for (DrawnToken& token : draw.tokens) {
        if (token.id < 0)
            return {FinishReason::error,
                    "the model's logits hold no finite number: its weights or inputs overflow "
                    "(try dtype=\"float32\")"};
        request.sampler.accept(token.id);
        request.context.push_back(token.id);
        request.tokens.push_back(token.id);
        request.digests.push_back(token.digest);
        if (spec.sampling.logprobs >= 0) request.logprobs.push_back(std::move(token.logprobs));
        if (std::find(stops.begin(), stops.end(), token.id) != stops.end())
            outcome.reason = FinishReason::stop;
        else if (int64_t(request.tokens.size()) >= spec.max_tokens ||
                 int64_t(request.context.size()) > context_)  // the last token needs no place
            outcome.reason = FinishReason::length;
        if (outcome.reason != FinishReason::none) return outcome;
    }
    request.notify();
    return outcome;
}

float Decoder::logprob(const float* logits, int32_t token) {
    return token_logprobs(logits, vocabulary_, token, 0, kernels_, scratch_[0].data()).logprob;
}

}  // namespace genfast

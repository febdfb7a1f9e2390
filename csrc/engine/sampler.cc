#include "engine/sampler.h"

#include <algorithm>

#include "core/random.h"
#include "engine/token_masks.h"

namespace genfast {

static size_t kernel_scratch_bytes(int64_t vocabulary) {
    size_t most = std::max({sample_scratch_bytes(vocabulary), truncate_scratch_bytes(vocabulary),
                            logprobs_scratch_bytes(vocabulary)});
    return (most + 63) / 64 * 64;
}

size_t sampler_scratch_bytes(int64_t vocabulary) {
    return kernel_scratch_bytes(vocabulary) + size_t(vocabulary) * sizeof(float);
}

Sampler::Sampler(const SamplingParams& params, const std::vector<int32_t>& prompt)
    : params_(params),
      penalties_(params, prompt),
      dry_(params, prompt),
      bans_(params, prompt),
      mirostat_(params) {}

void Sampler::accept(int32_t token) {
    penalties_.accept(token);
    dry_.accept(token);
    bans_.accept(token);
    mirostat_.accept(token);
}

bool Sampler::edits() const {
    return !params_.logit_bias.empty() || penalties_.active() || dry_.active() || bans_.active();
}

bool Sampler::truncates() const {
    return params_.temperature > 0 && (params_.top_n_sigma > 0 || params_.typical_p < 1 ||
                                       params_.xtc_probability > 0 || mirostat_.active());
}

void Sampler::edit(float* logits, int64_t vocabulary) const {
    for (auto [token, bias] : params_.logit_bias)
        if (token >= 0 && token < vocabulary) logits[token] += bias;
    penalties_.edit(logits);
    if (dry_.active()) dry_.edit(logits);
    if (bans_.active()) bans_.edit(logits, vocabulary);
}

Sampler::Left Sampler::truncate(float* logits, int64_t vocabulary, int64_t position,
                                const Kernels& kernels, std::byte* scratch) const {
    Left left;
    TruncateArgs args{};
    args.logits = logits;
    args.scratch = scratch;
    args.kept = &left.tokens;
    args.log_sum = &left.log_sum;
    args.V = vocabulary;
    args.temperature = params_.temperature;
    args.top_n_sigma = params_.top_n_sigma;
    args.top_k = std::min(params_.top_k, vocabulary);
    args.top_p = params_.top_p;
    args.min_p = params_.min_p;
    args.typical_p = params_.typical_p;
    double chance = uniform(params_.seed, params_.stream, uint64_t(position), Uniform::chance);
    args.xtc_threshold = chance < double(params_.xtc_probability) ? params_.xtc_threshold : 1;
    args.max_bits = mirostat_.max_bits();
    Team alone;
    kernels.truncate(args, alone);
    return left;
}

RowDraw Sampler::row_draw(int64_t vocabulary, int64_t position) const {
    if (edits() || truncates() || params_.logprobs > kMostTold) return {};
    RowDraw row = genfast::row_draw(
        vocabulary, params_.temperature, std::min(params_.top_k, vocabulary), params_.top_p,
        params_.min_p, uniform(params_.seed, params_.stream, uint64_t(position)));
    row.told = int32_t(params_.logprobs);
    return row;
}

int32_t Sampler::next(float* logits, int64_t vocabulary, int64_t position, const Kernels& kernels,
                      std::byte* scratch, TokenLogprobs* logprobs, const uint32_t* allowed) {
    bool wants = params_.logprobs >= 0 && logprobs;
    // The logprobs are of the unedited logits and need the token that comes out of the edited ones.
    const float* before = logits;
    if (wants && (edits() || truncates() || allowed)) {
        auto* copy = reinterpret_cast<float*>(scratch + kernel_scratch_bytes(vocabulary));
        std::copy_n(logits, vocabulary, copy);
        before = copy;
    }
    edit(logits, vocabulary);
    if (allowed) mask_logits(logits, vocabulary, allowed);

    int32_t token = -1;
    SampleArgs args{};
    args.logits = logits;
    args.scratch = scratch;
    args.token = &token;
    args.V = vocabulary;
    args.temperature = params_.temperature;
    args.top_k = std::min(params_.top_k, vocabulary);
    args.top_p = params_.top_p;
    args.min_p = params_.min_p;
    args.draw = uniform(params_.seed, params_.stream, uint64_t(position));
    Left left;
    if (truncates()) {
        left = truncate(logits, vocabulary, position, kernels, scratch);
        args.top_k = left.tokens <= kFew ? left.tokens : 0;  // drops none, only sorts them
        args.top_p = 1;
        args.min_p = 0;
    }
    Team alone;
    kernels.sample(args, alone);
    if (token >= 0 && mirostat_.active())
        mirostat_.drawn(token, double(logits[token]) / params_.temperature - left.log_sum);

    if (wants && token >= 0)
        *logprobs = token_logprobs(before, vocabulary, token, params_.logprobs, kernels, scratch);
    return token;
}

}  // namespace genfast

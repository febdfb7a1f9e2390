#include "engine/beam_search.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "core/digest.h"

namespace genfast {

// In what order they are told.
static bool better(const Hypothesis& a, const Hypothesis& b) {
    return a.holds != b.holds ? a.holds : a.score > b.score;
}

BeamSearch::BeamSearch(const BeamParams& params, const SamplingParams& sampling,
                       const std::vector<int32_t>& prompt, int64_t most_tokens, bool guided)
    : params_(params),
      sampling_(sampling),
      prompt_(int64_t(prompt.size())),
      most_tokens_(most_tokens),
      guided_(guided),
      a_group_(params.count / params.groups),
      considered_(std::max<int64_t>(2, 1 + int64_t(sampling.stop_ids.size())) * a_group_),
      rows_(1),
      groups_(size_t(params.groups)) {
    beams_.emplace_back(Sequence{prompt, {}, 0}, Sampler(sampling, prompt));
}

// What the sampler needs, and the row as it was before the edits.
size_t BeamSearch::scratch_bytes(int64_t vocabulary) {
    return sampler_scratch_bytes(vocabulary) + 64 + size_t(vocabulary) * sizeof(float);
}

void BeamSearch::score(int64_t index, float* logits, int64_t vocabulary, const Kernels& kernels,
                       std::byte* scratch, const TokenMasks::Answer& grammar) {
    const Beam& beam = beams_[size_t(index)];
    Row row;
    if (grammar.verdict != Verdict::open) {
        row.has_numbers = true;  // as many as are looked at
        row.complete = grammar.verdict == Verdict::complete;
        rows_[size_t(index)] = std::move(row);
        return;
    }
    row.digest = digest_row(logits, vocabulary);
    LogprobsArgs args{};
    args.logits = logits;
    args.scratch = scratch;
    args.V = vocabulary;
    args.all = logits;
    if (sampling_.logprobs >= 0) {
        args.entropy = &row.told.entropy;
        args.margin = &row.told.margin;
    }
    Team alone;
    const int64_t wanted = std::min(sampling_.logprobs, vocabulary);
    std::vector<int32_t> ids;
    std::vector<float> values;
    auto top = [&](int64_t count) {
        ids.resize(size_t(count));
        values.resize(size_t(count));
        args.top_ids = ids.data();
        args.top_logprobs = values.data();
        args.top_n = count;
        kernels.logprobs(args, alone);
        while (!ids.empty() && ids.back() < 0) ids.pop_back();
    };
    top(std::max<int64_t>(1, wanted));
    row.has_numbers = !ids.empty();

    const float* unedited = nullptr;
    if (wanted >= 0) {
        for (size_t i = 0; i < std::min(ids.size(), size_t(wanted)); ++i)
            row.told.top.push_back({ids[i], values[i]});
        float* copy =
            reinterpret_cast<float*>(scratch + (sampler_scratch_bytes(vocabulary) + 63) / 64 * 64);
        std::copy_n(logits, vocabulary, copy);
        unedited = copy;
    }
    beam.sampler.edit(logits, vocabulary);
    if (!beam.phrases.complete(params_.required))
        for (int32_t token : sampling_.stop_ids)
            if (token < vocabulary) logits[token] = -std::numeric_limits<float>::infinity();
    if (grammar.allowed) mask_logits(logits, vocabulary, grammar.allowed);

    // A penalty of diversity lowers at most the tokens of the other beams: so many more may come
    // up.
    args.all = args.entropy = args.margin = nullptr;
    args.normalised = true;
    int64_t lowered = params_.groups > 1 ? params_.count : 0;
    top(std::min(considered_ + lowered, vocabulary));
    for (int32_t token : beam.phrases.next_tokens(params_.required))
        if (logits[token] > -std::numeric_limits<float>::infinity() &&
            std::find(ids.begin(), ids.end(), token) == ids.end())
            ids.push_back(token);
    for (int32_t id : ids)
        row.candidates.push_back({index, id, logits[id], unedited ? unedited[id] : 0});
    rows_[size_t(index)] = std::move(row);
}

BeamSearch::Progress BeamSearch::advance(KvCache& cache, const Sequence& prompt) {
    for (const Row& row : rows_)
        if (!row.has_numbers) return Progress::no_numbers;
    if (!started_) {
        beams_[0].kv = cache.fork(prompt.kv);
        beams_[0].cached = prompt.cached;
    }
    std::vector<Candidate> chosen;
    std::vector<int32_t> taken;  // the tokens of the groups before
    std::vector<int64_t> group_of;
    for (int64_t g = 0; g < params_.groups; ++g) {
        if (groups_[size_t(g)].over) continue;
        for (const Candidate& candidate : step(g, candidates_of(g, taken))) {
            taken.push_back(candidate.token);
            if (groups_[size_t(g)].over) continue;
            chosen.push_back(candidate);
            group_of.push_back(g);
        }
    }
    go_on(chosen, cache);
    for (size_t i = 0; i < beams_.size(); ++i) beams_[i].group = group_of[i];
    started_ = true;
    return beams_.empty() ? Progress::over : Progress::going_on;
}

// The best first.
std::vector<BeamSearch::Candidate> BeamSearch::candidates_of(
    int64_t group, const std::vector<int32_t>& taken) const {
    std::vector<Candidate> candidates;
    for (size_t i = 0; i < beams_.size(); ++i) {
        if (started_ && beams_[i].group != group) continue;
        for (Candidate candidate : rows_[i].candidates) {
            auto times = std::count(taken.begin(), taken.end(), candidate.token);
            if (times > 0) candidate.score -= params_.diversity_penalty * float(times);
            candidate.score += beams_[i].score;
            candidates.push_back(candidate);
        }
    }
    // Rows list their candidates by score, then token: so ties go to the lower beam and token.
    std::stable_sort(candidates.begin(), candidates.end(),
                     [](const Candidate& a, const Candidate& b) { return a.score > b.score; });
    return candidates;
}

// Of the group's candidates, the best first: keeps those that end, returns those that go on, or
// would if the search were not over.
std::vector<BeamSearch::Candidate> BeamSearch::step(int64_t g, std::vector<Candidate> candidates) {
    Group& group = groups_[size_t(g)];
    const bool free = params_.required.empty();
    if (free && int64_t(candidates.size()) > considered_) candidates.resize(size_t(considered_));
    end_beams(g, candidates.empty());
    const int64_t length = generated(beams_[0]) + 1;  // the same of all
    const bool last = length >= most_tokens_;
    std::vector<Candidate> going_on;
    int64_t rank = 0;
    for (const Candidate& candidate : candidates) {
        bool holds = free || progress(candidate).complete(params_.required);
        bool ends = is_end_token(candidate.token);
        if ((ends || last) && holds && rank < a_group_) keep(group, hypothesis(candidate));
        if (!ends) going_on.push_back(candidate);
        rank += holds;
    }
    if (!free) going_on = by_banks(going_on);
    if (int64_t(going_on.size()) > a_group_) going_on.resize(size_t(a_group_));
    group.over = last || going_on.empty() || is_over(group, length, going_on[0].score);
    return going_on;
}

// Keeps the beams of a group that end with their grammar; without one, those that are stuck.
void BeamSearch::end_beams(int64_t g, bool stuck) {
    for (size_t i = 0; i < beams_.size(); ++i) {
        if (started_ && beams_[i].group != g) continue;
        Hypothesis h = hypothesis(beams_[i]);
        if (rows_[i].complete) h.ended = h.holds = beams_[i].phrases.complete(params_.required);
        if (guided_ ? h.ended : stuck) keep(groups_[size_t(g)], std::move(h));
    }
}

// The best of each bank, from the fullest on, then the second best of each, and so on: as many as
// there are beams, the best first.
std::vector<BeamSearch::Candidate> BeamSearch::by_banks(
    const std::vector<Candidate>& candidates) const {
    struct Place {
        int64_t bank, place;
        Candidate candidate;
    };
    std::vector<Place> places;
    std::vector<int64_t> in_bank(size_t(PhraseProgress::total(params_.required)) + 1, 0);
    for (const Candidate& candidate : candidates) {
        int64_t bank = progress(candidate).bank(params_.required);
        places.push_back({bank, in_bank[size_t(bank)]++, candidate});
    }
    std::sort(places.begin(), places.end(), [](const Place& a, const Place& b) {
        return a.place != b.place ? a.place < b.place : a.bank > b.bank;
    });
    std::vector<Candidate> best;
    for (const Place& place : places)
        if (int64_t(best.size()) < a_group_) best.push_back(place.candidate);
    std::stable_sort(best.begin(), best.end(),
                     [](const Candidate& a, const Candidate& b) { return a.score > b.score; });
    return best;
}

// best: the score of the best beam that would go on.
bool BeamSearch::is_over(const Group& group, int64_t length, float best) const {
    if (int64_t(group.ended.size()) < a_group_) return false;
    if (params_.early_stopping == EarlyStopping::yes) return true;
    bool longest = params_.early_stopping == EarlyStopping::never && params_.length_penalty > 0;
    return !(normalised(best, longest ? most_tokens_ : length) > group.ended.back().score);
}

PhraseProgress BeamSearch::progress(const Candidate& candidate) const {
    PhraseProgress phrases = beams_[size_t(candidate.beam)].phrases;
    phrases.add(params_.required, candidate.token);
    return phrases;
}

bool BeamSearch::is_end_token(int32_t token) const {
    const auto& ends = sampling_.stop_ids;
    return std::find(ends.begin(), ends.end(), token) != ends.end();
}

// Rounded as torch rounds it: the power to float, then the quotient.
float BeamSearch::normalised(float score, int64_t length) const {
    return score / float(std::pow(double(length), double(params_.length_penalty)));
}

Hypothesis BeamSearch::hypothesis(const Beam& beam) const {
    Hypothesis h;
    h.tokens.assign(beam.context.begin() + prompt_, beam.context.end());
    h.score = h.tokens.empty() ? 0 : normalised(beam.score, generated(beam));
    h.ended = !h.tokens.empty() && is_end_token(h.tokens.back());
    h.holds = beam.phrases.complete(params_.required) && (h.ended || !guided_);
    h.digests = beam.digests;
    h.logprobs = beam.logprobs;
    return h;
}

Hypothesis BeamSearch::hypothesis(const Candidate& candidate) const {
    Beam beam = beams_[size_t(candidate.beam)];
    extend(beam, candidate);
    return hypothesis(beam);
}

void BeamSearch::extend(Beam& beam, const Candidate& candidate) const {
    const Row& row = rows_[size_t(candidate.beam)];
    beam.context.push_back(candidate.token);
    beam.score = candidate.score;
    beam.sampler.accept(candidate.token);
    if (!params_.required.empty()) beam.phrases.add(params_.required, candidate.token);
    beam.digests.push_back(row.digest);
    if (sampling_.logprobs >= 0) {
        beam.logprobs.push_back(row.told);
        beam.logprobs.back().logprob = candidate.logprob;
    }
}

void BeamSearch::keep(Group& group, Hypothesis hypothesis) const {
    auto& ended = group.ended;
    ended.insert(std::upper_bound(ended.begin(), ended.end(), hypothesis, better),
                 std::move(hypothesis));
    if (int64_t(ended.size()) > a_group_) ended.pop_back();
}

void BeamSearch::go_on(const std::vector<Candidate>& chosen, KvCache& cache) {
    std::vector<int64_t> uses(beams_.size(), 0);
    for (const Candidate& candidate : chosen) ++uses[size_t(candidate.beam)];
    for (size_t i = 0; i < beams_.size(); ++i)
        if (uses[i] == 0) cache.release(beams_[i].kv);
    std::vector<Beam> next;
    for (const Candidate& candidate : chosen) {
        Beam& parent = beams_[size_t(candidate.beam)];
        if (--uses[size_t(candidate.beam)] == 0) {
            next.push_back(std::move(parent));
        } else {
            next.push_back(parent);
            next.back().kv = cache.fork(parent.kv);
        }
        extend(next.back(), candidate);
        next.back().parent = candidate.beam;
    }
    beams_ = std::move(next);
    rows_.assign(beams_.size(), {});
}

std::vector<Hypothesis> BeamSearch::results() const {
    std::vector<Hypothesis> all;
    for (const Group& group : groups_)
        all.insert(all.end(), group.ended.begin(), group.ended.end());
    if (started_)
        for (const Beam& beam : beams_) all.push_back(hypothesis(beam));
    std::stable_sort(all.begin(), all.end(), better);
    if (int64_t(all.size()) > params_.count) all.resize(size_t(params_.count));
    return all;
}

}  // namespace genfast

// Beam search: several continuations of a prompt side by side; each step takes the best of all that
// could follow them, and the best that ended are told at the end.
//
// By the rules of transformers (version 5, generation/utils.py): log-probabilities that the
// sampler's edits change without being normalised again; max(2, 1 + end tokens) candidates a beam;
// of the candidates that end, those among the best `count` are kept, as many as there are beams, by
// score = sum / length^length_penalty; `early_stopping` says when these cannot get better.
//
// Groups are searches of their own, but a token that an earlier group took in this step costs
// `diversity_penalty` for each time (Vijayakumar et al., 2016, arXiv 1610.02424; scores keep what
// was taken, as in transformers 4). Required phrases: phrases.h; a hypothesis may end only with all
// of them. A grammar (token_masks.h) takes away what may not follow a beam, as the sampler's edits
// do; a beam that nothing may follow ends, and is a hypothesis if it matches. What matches comes
// before what max_tokens cut off.
#pragma once

#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include "engine/kv_cache.h"
#include "engine/phrases.h"
#include "engine/sampler.h"
#include "engine/sequence.h"
#include "engine/token_masks.h"

namespace genfast {

enum class EarlyStopping : uint8_t { no, yes, never };

struct BeamParams {
    int64_t count = 1;   // of beams; 1: no beam search
    int64_t groups = 1;  // divides count
    float length_penalty = 1, diversity_penalty = 0;
    EarlyStopping early_stopping = EarlyStopping::no;
    Phrases required;
};

struct Beam : Sequence {
    Beam(Sequence sequence, Sampler its_sampler)
        : Sequence(std::move(sequence)), sampler(std::move(its_sampler)) {}

    Sampler sampler;
    int64_t group = 0;
    int64_t parent = 0;  // the beam of the step before that it continues
    float score = 0;     // the sum of log-probabilities
    PhraseProgress phrases;
    std::vector<uint64_t> digests;  // a generated token, as of a request
    std::vector<TokenLogprobs> logprobs;
};

// One of the results.
struct Hypothesis {
    float score = 0;     // with the length penalty
    bool ended = false;  // by an end token, or with its grammar
    bool holds = true;   // all required phrases, and its grammar if it has one
    std::vector<int32_t> tokens;
    std::vector<uint64_t> digests;
    std::vector<TokenLogprobs> logprobs;
};

class BeamSearch {
  public:
    // At most `most_tokens` are generated. guided: by a grammar.
    BeamSearch(const BeamParams& params, const SamplingParams& sampling,
               const std::vector<int32_t>& prompt, int64_t most_tokens, bool guided);

    // The beams that go on; none before the prompt's logits are there.
    std::span<Beam> beams() { return started_ ? std::span(beams_) : std::span<Beam>(); }

    // Takes the logits [V] that follow a beam (in the beginning: the prompt), which it edits in
    // place. Rows in any order, on any threads; each with a scratch of its own. `grammar`: what may
    // follow the beam, if the search is guided.
    void score(int64_t row, float* logits, int64_t vocabulary, const Kernels& kernels,
               std::byte* scratch, const TokenMasks::Answer& grammar);
    static size_t scratch_bytes(int64_t vocabulary);

    enum class Progress : uint8_t { going_on, over, no_numbers };
    // After all rows: chooses the beams of the next step. `prompt`: what all begin with.
    Progress advance(KvCache& cache, const Sequence& prompt);

    // The best, at most as many as there are beams; those that did not end are among them. None
    // where the grammar leaves no way on.
    std::vector<Hypothesis> results() const;

  private:
    // A way that a beam may go on.
    struct Candidate {
        int64_t beam;
        int32_t token;
        float score;    // the beam's, if it goes on so
        float logprob;  // the token's, unedited; told only when logprobs are asked for
    };
    struct Row {
        bool has_numbers = false;
        bool complete = false;  // with the beam its grammar ends
        uint64_t digest = 0;
        std::vector<Candidate> candidates;
        TokenLogprobs told;  // but for the token
    };
    struct Group {
        std::vector<Hypothesis> ended;  // the best first
        bool over = false;
    };

    std::vector<Candidate> candidates_of(int64_t group, const std::vector<int32_t>& taken) const;
    std::vector<Candidate> by_banks(const std::vector<Candidate>& candidates) const;
    std::vector<Candidate> step(int64_t group, std::vector<Candidate> candidates);
    bool is_over(const Group& group, int64_t length, float best) const;
    PhraseProgress progress(const Candidate& candidate) const;
    bool is_end_token(int32_t token) const;
    int64_t generated(const Beam& beam) const { return int64_t(beam.context.size()) - prompt_; }
    float normalised(float score, int64_t length) const;
    Hypothesis hypothesis(const Beam& beam) const;
    Hypothesis hypothesis(const Candidate& candidate) const;
    void extend(Beam& beam, const Candidate& candidate) const;
    void keep(Group& group, Hypothesis hypothesis) const;
    void end_beams(int64_t group, bool stuck);
    void go_on(const std::vector<Candidate>& chosen, KvCache& cache);

    const BeamParams params_;
    const SamplingParams sampling_;
    const int64_t prompt_, most_tokens_;
    const bool guided_;
    const int64_t a_group_;     // beams
    const int64_t considered_;  // candidates
    bool started_ = false;
    std::vector<Beam> beams_;  // those of a group side by side; in the beginning one of all groups
    std::vector<Row> rows_;    // by beam
    std::vector<Group> groups_;
};

}  // namespace genfast

// How a request's next token is chosen: edits of the logits, then what may be drawn, then the draw.
//
// The order, which is Hugging Face's where it has the step (docs/sampling.md): logit bias;
// repetition, presence and frequency penalties; DRY; no repeated n-grams, bad words, no stop id
// before min_tokens, forced tokens, suppressed tokens; what a grammar does not allow. Then
// temperature, top-n-sigma, top-k, top-p, min-p, typical, XTC, Mirostat.
//
// A draw is a function of (seed, stream, position), and what depends on history is a function of
// the tokens accepted: nothing else that runs changes a text, and `next` may be asked again.
#pragma once

#include <cstdint>
#include <vector>

#include "engine/sampling/bans.h"
#include "engine/sampling/dry.h"
#include "engine/sampling/mirostat.h"
#include "engine/sampling/params.h"
#include "engine/sampling/penalties.h"
#include "engine/sampling/token_logprobs.h"
#include "kernels/sample/draw_rows.h"
#include "kernels/table.h"

namespace genfast {

// Scratch for Sampler::next and token_logprobs, one buffer a thread.
size_t sampler_scratch_bytes(int64_t vocabulary);

class Sampler {
  public:
    Sampler(const SamplingParams& params, const std::vector<int32_t>& prompt);

    // The token at `position` of the sequence, or -1 when no logit is a finite number. `allowed`: a
    // bit a token, null for all (token_masks.h). Edits the logits in place. *logprobs (when params
    // ask for them) is of the model's own distribution: taken before any edit.
    int32_t next(float* logits, int64_t vocabulary, int64_t position, const Kernels& kernels,
                 std::byte* scratch, TokenLogprobs* logprobs, const uint32_t* allowed = nullptr);
    // The same for a GPU to draw; Way::none where it needs more than logits and a random number.
    RowDraw row_draw(int64_t vocabulary, int64_t position) const;
    void accept(int32_t token);  // the token is part of the output from now on

    // The edits alone, of a whole row: what a beam search ranks.
    void edit(float* logits, int64_t vocabulary) const;

  private:
    struct Left {  // of a row, to be drawn from
        int64_t tokens = 0;
        double log_sum = 0;  // ln sum of e^(logit / temperature)
    };

    bool edits() const;
    bool truncates() const;
    Left truncate(float* logits, int64_t vocabulary, int64_t position, const Kernels& kernels,
                  std::byte* scratch) const;

    SamplingParams params_;
    Penalties penalties_;
    Dry dry_;
    Bans bans_;
    Mirostat mirostat_;
};

}  // namespace genfast

// From a step's logits to tokens: the draws of all requests at once, on all threads, and what each
// draw makes of its request.
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "core/buffer.h"
#include "core/thread_pool.h"
#include "engine/request.h"

namespace genfast {

// A token, and what is told of it.
struct DrawnToken {
    int32_t id = -1;
    uint64_t digest = 0;  // of the logits it was drawn from
    TokenLogprobs logprobs{};
    int32_t there = kNotAsked;  // what a GPU answered: the id, kUnsure, or it was not asked
};

// The logits that continue a request, and the tokens drawn from them: one, and one more for each
// drafted token that proved right.
struct Draw {
    std::shared_ptr<Request> request;
    float* logits;      // [1 + draft, V]; of a beam search [beams, V]; guided [2, V]
    int64_t beams = 1;  // side by side, or the two of guidance
    std::span<const int32_t> draft{};
    const DrawnRow* drawn = nullptr;  // by a GPU, of each row; null: nothing
    const ToldRow* told = nullptr;    // likewise
    std::vector<DrawnToken> tokens{};
    TokenMasks::Answer grammar{};  // of a guided request, at the last row that was looked at (of a
                                   // search: at the first)
};

// What accepting a draw means for the request.
struct Outcome {
    FinishReason reason = FinishReason::none;
    const char* error = "";
    int64_t rejected = 0;  // of the drafted tokens
};

class Decoder {
  public:
    Decoder(ThreadPool& pool, const Kernels& kernels, KvCache& cache, int64_t vocabulary,
            int64_t context);

    // How a GPU may draw a row of a request's next step; Way::none: it is drawn here.
    RowDraw row_draw(const Request& request, int64_t row) const;
    // Without the engine's mutex: nobody else touches a sampler.
    void draw(std::vector<Draw>& draws);
    // Appends what was drawn and wakes those who wait for it. Needs the engine's mutex: beams
    // change their pages.
    Outcome accept(Draw& draw) const;
    // Of a token the prompt holds already, and of the `top` likeliest there.
    TokenLogprobs told(const float* logits, int32_t token, int64_t top);

  private:
    void draw_rows(Draw& draw, std::byte* scratch) const;
    void score_beam(const Draw& draw, int64_t beam, std::byte* scratch) const;
    DrawnToken next_token(const Draw& draw, size_t row, std::byte* scratch) const;
    void end(const Draw& draw, Outcome& outcome) const;
    Outcome accept_beams(const Draw& draw) const;

    ThreadPool& pool_;
    const Kernels& kernels_;
    KvCache& cache_;
    const int64_t vocabulary_, context_;
    std::vector<Buffer> scratch_;  // a thread
};

}  // namespace genfast

// Which tokens a grammar allows next. The grammar lives elsewhere: a guide, on a thread of its own,
// works out what may follow while the engine computes the logits.
//
// TokenMasks is the mailbox of one request. The engine posts the tokens it accepted, and those of
// a draft that the step verifies; the guide finds the mailbox in the model's MaskQueue, takes the
// tokens, writes a row of bits for what may follow the accepted ones, and one for what may follow
// each of the draft, and answers. A draw waits only when that answer is late. Of a beam search the
// engine posts which beams go on, and the answer has a row a beam.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

namespace genfast {

enum class Verdict : uint8_t {
    open,       // the allowed tokens may follow
    complete,   // the text matches, and nothing may follow
    dead_end,   // the text does not match, and nothing may follow
    failed,     // the guide broke down: see error()
    abandoned,  // nobody waits for the answer any more: the request was cancelled or is overdue
};

class TokenMasks;

// The mailboxes with tokens that a guide has not seen, oldest first; one queue a model.
class MaskQueue {
  public:
    void push(std::shared_ptr<TokenMasks> masks);
    // Waits for a mailbox; null once the queue is closed.
    std::shared_ptr<TokenMasks> take();
    // No guide comes any more. What is posted from now on fails.
    void close();

    // What draws waited for late answers, in all.
    std::atomic<int64_t> waits{0}, waited_ns{0};

  private:
    std::mutex mutex_;
    std::condition_variable changed_;
    std::deque<std::shared_ptr<TokenMasks>> posted_;
    bool closed_ = false;
};

class TokenMasks : public std::enable_shared_from_this<TokenMasks> {
  public:
    using Clock = std::chrono::steady_clock;

    // What may follow, while the verdict is open: bit t of the words for token t.
    struct Answer {
        Verdict verdict = Verdict::open;
        const uint32_t* allowed = nullptr;
    };

    // key: the guide's name for it. bits: of the mask, at least one a token of the vocabulary.
    TokenMasks(std::shared_ptr<MaskQueue> queue, int64_t key, int64_t bits);

    // ---- the engine
    void post(const std::vector<int32_t>& accepted);
    void post_draft(const std::vector<int32_t>& draft);
    // The beams of the next step, each a token behind one of the last step's.
    struct Branch {
        int64_t beam;
        int32_t token;
    };
    void post_beams(std::vector<Branch> beams);
    // What the grammar leaves no choice about, as far as is known now.
    std::vector<int32_t> forced();
    // Waits until all that was posted is answered; false when the request is cancelled or its time
    // is over.
    bool wait(const std::atomic<bool>& cancelled, Clock::time_point deadline);
    // Once waited: how many rows there are, and one of them. Row i tells what may follow i tokens
    // of the draft, or beam i. There may be fewer rows than tokens of a draft: behind what cannot
    // follow there is none. One that failed has a single row.
    size_t rows() const { return verdicts_.size(); }
    Answer row(size_t index) const;
    void wake();  // `cancelled` has changed

    // ---- the guide
    struct Post {
        std::vector<int32_t> accepted, draft;
        std::vector<Branch> beams;

        bool empty() const { return accepted.empty() && draft.empty() && beams.empty(); }
    };
    Post take();  // what was posted since the last call; there are words for its rows now
    std::vector<uint32_t>& words(size_t row) { return words_.at(row); }
    void answer(std::vector<Verdict> rows, std::vector<int32_t> forced);
    void fail(const std::string& error);

    const std::string& error() const { return error_; }  // of a failed one, for good
    const int64_t key;

  private:
    const std::shared_ptr<MaskQueue> queue_;
    bool failed() const { return verdicts_.size() == 1 && verdicts_[0] == Verdict::failed; }

    // The guide's between post and answer, else the engine's.
    std::vector<std::vector<uint32_t>> words_;
    std::vector<Verdict> verdicts_;

    std::mutex mutex_;
    std::condition_variable changed_;
    Post posted_;
    bool answered_ = false;  // all that was posted; the guide answers the empty text first
    std::vector<int32_t> forced_;
    std::string error_;
};

// No logit is left of a token that is not allowed.
void mask_logits(float* logits, int64_t vocabulary, const uint32_t* allowed);

}  // namespace genfast

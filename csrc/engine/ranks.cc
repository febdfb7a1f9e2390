#include "engine/ranks.h"

#include "core/cpu.h"
#include "core/error.h"
#include "engine/kv_cache.h"

namespace genfast {
namespace {

enum Word : int64_t { kBegin, kStep, kCopyPage };  // the first of what is told

int64_t pages_of(const SequenceSpan& span) {
    return pages_for(span.start + span.rows);
}

// What was told, read from its beginning.
class Told {
  public:
    // Empty when rank 0 is gone.
    explicit Told(Communicator& ranks) {
        int64_t count = 0;
        ranks.broadcast(&count, sizeof count);
        words_.resize(size_t(count));
        ranks.broadcast(words_.data(), words_.size() * sizeof(int64_t));
    }
    int64_t next() { return words_.at(at_++); }
    void next(std::vector<int32_t>& all, int64_t count) {
        all.clear();
        for (int64_t i = 0; i < count; ++i) all.push_back(int32_t(next()));
    }

  private:
    std::vector<int64_t> words_;
    size_t at_ = 0;
};

// A step as it was told, and what it points to.
struct ToldStep {
    std::vector<int32_t> token_ids, positions, output_rows;
    std::vector<std::vector<int32_t>> pages;
    std::vector<SequenceSpan> spans;

    Step read(Told& told) {
        const int64_t tokens = told.next(), outputs = told.next(), count = told.next();
        told.next(token_ids, tokens);
        told.next(positions, tokens);
        told.next(output_rows, outputs);
        spans.assign(size_t(count), {});
        pages.resize(size_t(count));
        for (size_t i = 0; i < spans.size(); ++i) {
            SequenceSpan& span = spans[i];
            span.row = told.next();
            span.rows = told.next();
            span.start = told.next();
            told.next(pages[i], pages_of(span));
            span.pages = pages[i].data();
        }
        return {tokens,  token_ids.data(),   positions.data(),
                outputs, output_rows.data(), spans.data(),
                count};
    }
};

}  // namespace

Leader::Leader(Communicator& ranks, int64_t pages, const Limits& limits) : ranks_(ranks) {
    tell({kBegin, pages, limits.tokens, limits.outputs, limits.sequences, limits.context});
    ranks_.check();
}

void Leader::tell(const std::vector<int64_t>& words) {
    int64_t count = std::ssize(words);
    ranks_.broadcast(&count, sizeof count);
    ranks_.broadcast(const_cast<int64_t*>(words.data()), words.size() * sizeof(int64_t));
}

void Leader::step(const Step& step) {
    std::vector<int64_t> words = {kStep, step.tokens, step.outputs, step.span_count};
    words.insert(words.end(), step.token_ids, step.token_ids + step.tokens);
    words.insert(words.end(), step.positions, step.positions + step.tokens);
    words.insert(words.end(), step.output_rows, step.output_rows + step.outputs);
    for (int64_t i = 0; i < step.span_count; ++i) {
        const SequenceSpan& span = step.spans[i];
        words.insert(words.end(), {span.row, span.rows, span.start});
        words.insert(words.end(), span.pages, span.pages + pages_of(span));
    }
    tell(words);
}

void Leader::copy_page(int32_t from, int32_t to) {
    tell({kCopyPage, from, to});
}

void follow(std::shared_ptr<const Program> program, const std::vector<KvLayout>& layouts,
            Communicator& ranks, int threads, const std::string& isa) {
    Told begin(ranks);
    ranks.check();
    require(begin.next() == kBegin, "rank 0 and rank ", ranks.rank(), " are not of one version");
    const int64_t pages = begin.next();
    Limits limits;
    for (int64_t* limit : {&limits.tokens, &limits.outputs, &limits.sequences, &limits.context})
        *limit = begin.next();
    ExecutorOptions options{isa, false, false, &ranks};
    ThreadPool pool(threads > 0 ? threads : default_threads(), true);
    KvCache cache(layouts, pages, false, 0, 0, kv_place(*program, options));
    Executor executor(program, cache.layers(), {}, limits, pool, options);
    ToldStep step;
    for (;;) {
        Told told(ranks);
        ranks.check();
        if (told.next() == kStep) {
            executor.run(step.read(told));
        } else {
            const int32_t from = int32_t(told.next());
            cache.copy_page(from, int32_t(told.next()));
        }
    }
}

}  // namespace genfast

#include "engine/tap.h"

#include <numeric>

#include "core/cpu.h"
#include "core/error.h"
#include "engine/kv_cache.h"

namespace genfast {

std::vector<Tapped> tap_program(std::shared_ptr<const Program> program,
                                const std::vector<KvLayout>& layouts,
                                const std::vector<int32_t>& token_ids,
                                const std::vector<std::string>& names, int threads,
                                const ExecutorOptions& options) {
    int64_t tokens = int64_t(token_ids.size());
    require(tokens > 0, "token_ids is empty: a tap needs at least one token");
    std::vector<ValueId> ids;
    for (const std::string& name : names) ids.push_back(program->find(name));

    ThreadPool pool(threads > 0 ? threads : default_threads());
    KvCache cache(layouts, pages_for(tokens), false, program->state_floats(), 2,
                  kv_place(*program, options));
    Limits limits{tokens, tokens, 1, tokens, pool.size()};
    Executor executor(program, cache.layers(), cache.states().slots(), limits, pool, options);
    KvSequence sequence;
    std::vector<int32_t> rows(token_ids.size());
    cache.own(sequence, 0);
    cache.grow(sequence, tokens);
    std::iota(rows.begin(), rows.end(), 0);  // the positions and the output rows at once
    SequenceSpan span{0, tokens, 0, sequence.pages.data(), -1, sequence.state_out()};
    Step step{tokens, token_ids.data(), rows.data(), tokens, rows.data(), &span, 1};
    executor.run(step);

    std::vector<Tapped> tapped;
    for (ValueId id : ids) {
        const Value& value = program->values()[size_t(id)];
        int64_t count = row_count(value.rows, step);
        tapped.push_back({count, value.cols, executor.value(id, count * value.cols)});
    }
    return tapped;
}

}  // namespace genfast

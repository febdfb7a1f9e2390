// Keys and values out of an engine's cache, and into it.
#include "core/error.h"
#include "engine/engine.h"

namespace genfast {

void Engine::check_one_rank() const {
    require(!leader_,
            "keys and values that several ranks hold cannot be saved or loaded: load the "
            "model with tensor_parallel=1");
}

Engine::Prefix Engine::export_kv(const std::vector<int32_t>& tokens) {
    check_one_rank();
    KvSequence known;
    {
        std::lock_guard lock(mutex_);
        cache_.attach(known, tokens, int64_t(tokens.size()) / kPageTokens * kPageTokens);
    }
    // Complete pages and snapshots are never written again, so they are read without the mutex.
    size_t page = size_t(cache_.page_bytes());
    Prefix prefix{known.entered * kPageTokens, {}, {}};
    prefix.pages.resize(size_t(known.entered) * page);
    for (size_t i = 0; i < size_t(known.entered); ++i)
        cache_.read_page(known.pages[i], prefix.pages.data() + i * page);
    if (known.state >= 0) prefix.state = cache_.states().read(known.state);
    std::lock_guard lock(mutex_);
    cache_.release(known);
    return prefix;
}

int64_t Engine::import_kv(const std::vector<int32_t>& tokens, std::span<const std::byte> pages,
                          std::span<const std::byte> state) {
    check_one_rank();
    size_t page = size_t(cache_.page_bytes()), slot = size_t(cache_.states().slot_bytes());
    int64_t count = int64_t(tokens.size());
    require(count % kPageTokens == 0 && pages.size() == page * size_t(count / kPageTokens) &&
                state.size() == slot,
            "found ", pages.size(), " bytes of keys and values and ", state.size(),
            " of state, expected ", page, " for each ", kPageTokens, " of ", count, " tokens, and ",
            slot);
    KvSequence sequence;
    {
        std::lock_guard lock(mutex_);
        if (!cache_.own(sequence, 0)) return 0;
        while (count > 0 && !cache_.grow(sequence, count)) count -= slot > 0 ? count : kPageTokens;
    }
    for (size_t i = 0; i < sequence.pages.size(); ++i)
        cache_.write_page(sequence.pages[i], pages.data() + i * page);
    if (slot > 0) cache_.states().write(sequence.state_out(), state);
    std::lock_guard lock(mutex_);
    cache_.settle(sequence);
    cache_.remember(sequence, tokens, count);
    cache_.release(sequence);
    return count;
}

}  // namespace genfast

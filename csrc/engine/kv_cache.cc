#include "engine/kv_cache.h"

#include "core/error.h"

namespace genfast {

KvCache::KvCache(const std::vector<KvLayout>& layouts, int64_t pages) {
    int64_t runs = (pages + kRunPages - 1) / kRunPages;
    require(runs > 0, "a KV cache needs at least one page");
    size_t bytes = 0;
    for (const KvLayout& layout : layouts) bytes += layout.run_bytes() * size_t(runs);
    memory_ = Buffer(bytes);
    std::byte* at = memory_.data();
    for (const KvLayout& layout : layouts) {
        layers_.push_back({at, layout});
        at += layout.run_bytes() * size_t(runs);
    }
    references_.assign(size_t(runs) * kRunPages, 0);
    run_used_.assign(size_t(runs), 0);
    free_ = int64_t(references_.size());
}

int32_t KvCache::take_page(int32_t after) {
    int32_t page = -1;
    if (after >= 0 && (after + 1) % kRunPages != 0 && references_[after + 1] == 0) {
        page = after + 1;
    } else {
        // An empty run, the lowest first to keep memory compact; else any free page.
        for (size_t run = 0; run < run_used_.size() && page < 0; ++run)
            if (run_used_[run] == 0) page = int32_t(run * kRunPages);
        for (size_t i = 0; i < references_.size() && page < 0; ++i)
            if (references_[i] == 0) page = int32_t(i);
    }
    references_[page] = 1;
    ++run_used_[page / kRunPages];
    --free_;
    return page;
}

bool KvCache::grow(std::vector<int32_t>& list, int64_t tokens) {
    int64_t missing = pages_for(tokens) - int64_t(list.size());
    if (missing > free_) return false;
    for (; missing > 0; --missing) list.push_back(take_page(list.empty() ? -1 : list.back()));
    return true;
}

void KvCache::release(std::vector<int32_t>& list) {
    for (int32_t page : list) {
        if (--references_[page] > 0) continue;
        --run_used_[page / kRunPages];
        ++free_;
    }
    list.clear();
}

}  // namespace genfast

// The paged KV cache: page numbers handed out to sequences, and the memory behind them.
//
// A page number stands for 32 tokens in every layer. Sixteen pages form an aligned run, and
// attention is fastest when a sequence owns whole runs in order, so a sequence that grows takes the
// page after its last one while that is free, and starts in an empty run when there is one. Memory
// is reserved at once but committed by the kernel only when a page is first written.
#pragma once

#include <cstdint>
#include <vector>

#include "core/buffer.h"
#include "program/ops.h"

namespace genfast {

class KvCache {
  public:
    // layouts: one a layer. pages is rounded up to whole runs.
    KvCache(const std::vector<KvLayout>& layouts, int64_t pages);

    const std::vector<LayerCache>& layers() const { return layers_; }
    int64_t pages() const { return int64_t(references_.size()); }
    int64_t free_pages() const { return free_; }
    int64_t bytes() const { return int64_t(memory_.size()); }

    // Grows the page list until it holds `tokens` tokens. All or nothing: false when pages are
    // short.
    bool grow(std::vector<int32_t>& list, int64_t tokens);
    void release(std::vector<int32_t>& list);  // gives all pages back and empties the list

  private:
    int32_t take_page(int32_t after);

    Buffer memory_;
    std::vector<LayerCache> layers_;
    std::vector<int32_t> references_;  // by page; 0: free
    std::vector<int32_t> run_used_;    // by run: pages in use
    int64_t free_ = 0;
};

static inline int64_t pages_for(int64_t tokens) {
    return (tokens + kPageTokens - 1) / kPageTokens;
}

}  // namespace genfast

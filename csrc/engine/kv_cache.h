// The paged KV cache: page numbers handed out to sequences, and the memory behind them.
//
// A page number stands for 32 tokens in every layer. Sixteen pages form an aligned run, and
// attention is fastest when a sequence owns whole runs in order: page i of a sequence lies at place
// i % 16 of its run while that can be had. Memory is reserved at once but committed by the kernel
// only when a page is first written.
//
// A page is free, in use by one or more sequences, or kept: nobody uses it, but the prefix tree
// knows its tokens. Kept pages count as free: the one unused for longest goes first. Pages in use
// by several are never written; who needs to write gets a copy.
//
// A program with recurrent state has a slot for each sequence beside its pages (state_cache.h). Of
// a prefix that the tree knows, only so much is of use then as some snapshot follows.
#pragma once

#include <cstdint>
#include <functional>
#include <list>
#include <vector>

#include "core/device.h"
#include "engine/prefix_tree.h"
#include "engine/state_cache.h"
#include "program/executor.h"

namespace genfast {

// Where pages lie: of the first `layers` layers in the device's memory, of the others in the CPU's.
struct KvPlace {
    const Device* device = nullptr;
    int64_t layers = 0;
};
KvPlace kv_place(const Program& program, const ExecutorOptions& options);

// The pages of one sequence, and how many of them the prefix tree knows.
struct KvSequence {
    std::vector<int32_t> pages;  // -1: given back, see forget
    int64_t forgotten = 0;       // how many are -1: the first ones after sinks
    int64_t entered = 0;
    PrefixTree::Node last = PrefixTree::kRoot;  // of the last page entered
    int32_t state = -1;                         // slot of the state after the cached tokens
    int32_t fresh = -1;                         // slot for the state after the next step
    int64_t branch = 0;   // tokens that the tree knew, of which no snapshot was left
    int32_t passed = -1;  // the last page that it left a snapshot with in passing

    int32_t state_out() const { return fresh >= 0 ? fresh : state; }
};

static inline int64_t pages_for(int64_t tokens) {
    return (tokens + kPageTokens - 1) / kPageTokens;
}

class KvCache {
  public:
    // layouts: one a layer. pages is rounded up to whole runs. keep: whether pages stay when their
    // sequence ends, for prompts that begin alike. state_floats, slots: of recurrent state.
    KvCache(const std::vector<KvLayout>& layouts, int64_t pages, bool keep,
            int64_t state_floats = 0, int64_t slots = 0, KvPlace place = {});

    const std::vector<LayerCache>& layers() const { return layers_; }
    const StateCache& states() const { return states_; }
    int64_t pages() const { return int64_t(references_.size()); }
    int64_t available() const { return free_ + int64_t(kept_.size()); }
    int64_t kept() const { return int64_t(kept_.size()); }
    int64_t in_use() const { return pages() - available(); }
    bool keeps() const { return keep_; }
    int64_t bytes() const { return int64_t(on_device_.size() + here_.size()); }
    int64_t page_bytes() const { return bytes() / pages(); }

    // Of the tokens, how many need not be computed: a whole number of pages, and what one more page
    // shares with them.
    int64_t known(const std::vector<int32_t>& tokens, int64_t limit) const;
    // Gives an empty sequence the pages of what is known of its tokens; returns how many these are.
    // The last page is a copy when not all of its tokens are the same.
    int64_t attach(KvSequence& sequence, const std::vector<int32_t>& tokens, int64_t limit);
    // Adds pages until the sequence holds `tokens` tokens. All or nothing: false when pages are
    // short.
    bool grow(KvSequence& sequence, int64_t tokens);
    // A sequence with the same pages, the last of which may not be complete: who goes on with it
    // makes it its own first.
    KvSequence fork(const KvSequence& sequence);
    // The same of the first tokens only; for caches that do not keep pages.
    KvSequence fork(const KvSequence& sequence, int64_t tokens);
    // Whoever else uses the page of this token, the sequence has a copy of its own from now on; and
    // a slot that the state after it can be written to. False when pages or slots are short.
    bool own(KvSequence& sequence, int64_t token);
    // A step is computed: what it wrote is the sequence's state.
    void settle(KvSequence& sequence);
    // Lets others find the pages that are complete: the first `cached` tokens are in the cache. A
    // page that holds what another holds already is given back for that one. The state after a
    // complete page becomes its snapshot; those left `passing`, token by token, only until the
    // next one.
    void remember(KvSequence& sequence, const std::vector<int32_t>& tokens, int64_t cached,
                  bool passing = false);
    // Gives back the pages that hold only tokens from `kept` (the same in every call) on and before
    // `token`: no layer looks at these.
    void forget(KvSequence& sequence, int64_t kept, int64_t token);
    void release(KvSequence& sequence);  // gives all pages back

    // Its pages, where one that n sequences use counts as 1/n; and the bytes of these and of its
    // state, likewise.
    double share_of(const KvSequence& sequence) const;
    double bytes_of(const KvSequence& sequence) const;
    int64_t bytes_in_use() const {
        return page_bytes() * in_use() + states_.slot_bytes() * states_.in_use();
    }

    // What a page holds, in every layer; the bytes of one depend on the layouts alone.
    void read_page(int32_t page, std::byte* to) const;
    void write_page(int32_t page, const std::byte* from);
    void copy_page(int32_t from, int32_t to);
    // Called with what copy_page is: other ranks have the same pages.
    void on_copy(std::function<void(int32_t from, int32_t to)> call) { on_copy_ = std::move(call); }

  private:
    struct Piece {
        Memory* memory;
        size_t first, step_run, step_page;  // bytes: of page 0, from run to run, from page to page
        size_t bytes;
        size_t at(int32_t page) const {
            return first + size_t(page / kRunPages) * step_run +
                   size_t(page % kRunPages) * step_page;
        }
    };

    PrefixTree::Match find(const std::vector<int32_t>& tokens, int64_t limit) const;
    bool own_state(KvSequence& sequence);
    void keep_state(KvSequence& sequence, int32_t page, bool passing);
    int32_t append_page(KvSequence& sequence);  // its number; -1: none is left
    // For place `index` of a sequence, after the page `before` (-1: none).
    int32_t take_page(int64_t index, int32_t before);
    int32_t empty_run() const;
    void reference(int32_t page);
    void unreference(int32_t page);
    void drop_oldest();

    Memory on_device_, here_;
    std::vector<LayerCache> layers_;
    std::vector<Piece> pieces_;        // of a page, wherever they lie
    std::vector<int32_t> references_;  // by page
    std::vector<int32_t> run_used_;    // by run: pages in use or kept
    int64_t free_ = 0, shared_ = 0;    // pages; shared: with several references
    bool keep_;
    PrefixTree tree_;
    StateCache states_;
    std::function<void(int32_t, int32_t)> on_copy_;
    std::list<int32_t> kept_;  // the one unused for longest first
    std::vector<std::list<int32_t>::iterator> kept_at_;
};

}  // namespace genfast

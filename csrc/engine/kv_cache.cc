#include "engine/kv_cache.h"

#include <utility>

#include "core/error.h"

namespace genfast {
namespace {

int64_t whole_runs(int64_t pages) {
    return (pages + kRunPages - 1) / kRunPages;
}

}  // namespace

KvPlace kv_place(const Program& program, const ExecutorOptions& options) {
    return {device_of(options.isa), device_layers(program, options)};
}

KvCache::KvCache(const std::vector<KvLayout>& layouts, int64_t pages, bool keep,
                 int64_t state_floats, int64_t slots, KvPlace place)
    : references_(size_t(whole_runs(pages)) * kRunPages, 0),
      run_used_(size_t(whole_runs(pages)), 0),
      free_(int64_t(references_.size())),
      keep_(keep),
      tree_(free_),
      states_(state_floats, slots, free_, place.device),
      kept_at_(references_.size()) {
    const size_t runs = run_used_.size();
    require(runs > 0, "a KV cache needs at least one page");
    std::vector<size_t> begins;  // of the layers, where each lies
    size_t there = 0, here = 0;
    for (const KvLayout& layout : layouts) {
        const bool on_device = int64_t(begins.size()) < place.layers;
        Memory* memory = on_device ? &on_device_ : &here_;
        size_t& bytes = on_device ? there : here;
        begins.push_back(bytes);
        size_t run = layout.run_bytes();
        for (int head = 0; head < layout.heads; ++head) {
            auto piece = [&](auto offset, size_t size) {
                pieces_.push_back({memory, bytes + offset(0), run, offset(1) - offset(0), size});
            };
            piece([&](int32_t page) { return layout.keys(page, head); }, layout.page_bytes());
            for (int64_t panel = 0; panel < layout.panels(); ++panel)
                piece([&](int32_t page) { return layout.values(page, head, panel); },
                      layout.bytes_of(kPageTokens * layout.panel_width(panel)));
            if (layout.page_scale_bytes() == 0) continue;
            piece([&](int32_t page) { return layout.key_scales(page, head); },
                  layout.page_scale_bytes());
            piece([&](int32_t page) { return layout.value_scales(page, head); },
                  layout.page_scale_bytes());
        }
        bytes += run * runs;
    }
    if (there > 0) on_device_ = Memory(there, place.device);
    here_ = Memory(here, nullptr);
    for (size_t i = 0; i < layouts.size(); ++i) {
        const Memory& memory = int64_t(i) < place.layers ? on_device_ : here_;
        layers_.push_back({memory.data() + begins[i], layouts[i]});
    }
}

// The tree's match; with recurrent state only as far as there is a snapshot.
PrefixTree::Match KvCache::find(const std::vector<int32_t>& tokens, int64_t limit) const {
    PrefixTree::Match match = tree_.find(tokens.data(), limit);
    if (!states_.any()) return match;
    std::vector<int32_t>& pages = match.pages;
    while (!pages.empty() && states_.snapshot(pages.back()) < 0) pages.pop_back();
    match.last = pages.empty() ? PrefixTree::kRoot : tree_.node_of(pages.back());
    match.partial_page = -1;
    match.partial_tokens = 0;
    return match;
}

int64_t KvCache::known(const std::vector<int32_t>& tokens, int64_t limit) const {
    if (!keep_) return 0;
    PrefixTree::Match match = find(tokens, limit);
    return int64_t(match.pages.size()) * kPageTokens + match.partial_tokens;
}

int64_t KvCache::attach(KvSequence& sequence, const std::vector<int32_t>& tokens, int64_t limit) {
    if (!keep_) return 0;
    PrefixTree::Match match = find(tokens, limit);
    for (int32_t page : match.pages) reference(page);
    if (states_.any()) {
        sequence.branch = match.whole_tokens;
        if (!match.pages.empty()) {
            sequence.state = states_.snapshot(match.pages.back());
            states_.reference(sequence.state);
            states_.touch(match.pages.back());
        }
    }
    sequence.entered = int64_t(match.pages.size());
    sequence.last = match.last;
    sequence.pages = std::move(match.pages);
    int64_t found = sequence.entered * kPageTokens;
    if (match.partial_tokens == 0) return found;
    reference(match.partial_page);  // so that it is not the page taken
    int32_t copy = append_page(sequence);
    if (copy >= 0) {
        copy_page(match.partial_page, copy);
        found += match.partial_tokens;
    }
    unreference(match.partial_page);
    return found;
}

bool KvCache::grow(KvSequence& sequence, int64_t tokens) {
    int64_t missing = pages_for(tokens) - int64_t(sequence.pages.size());
    if (missing > available()) return false;
    for (; missing > 0; --missing) append_page(sequence);
    return true;
}

KvSequence KvCache::fork(const KvSequence& sequence) {
    for (int32_t page : sequence.pages)
        if (page >= 0) reference(page);
    if (sequence.state >= 0) states_.reference(sequence.state);
    KvSequence other = sequence;
    other.fresh = -1;
    return other;
}

KvSequence KvCache::fork(const KvSequence& sequence, int64_t tokens) {
    KvSequence part;
    part.pages.assign(sequence.pages.begin(),
                      sequence.pages.begin() + std::ptrdiff_t(pages_for(tokens)));
    return fork(part);
}

bool KvCache::own(KvSequence& sequence, int64_t token) {
    if (!own_state(sequence)) return false;
    size_t index = size_t(token / kPageTokens);
    if (index >= sequence.pages.size()) return true;
    int32_t& page = sequence.pages[index];
    if (references_[size_t(page)] == 1) return true;
    int32_t copy = take_page(int64_t(index), index > 0 ? sequence.pages[index - 1] : -1);
    if (copy < 0) return false;
    copy_page(page, copy);
    unreference(page);
    page = copy;
    return true;
}

bool KvCache::own_state(KvSequence& sequence) {
    if (!states_.any() || sequence.fresh >= 0) return true;
    if (sequence.state >= 0 && states_.references(sequence.state) == 1) return true;
    sequence.fresh = states_.take();
    if (sequence.fresh >= 0 || sequence.state < 0) return sequence.fresh >= 0;
    // Rather than wait, a sequence goes on where its own snapshot is.
    if (int32_t page = states_.page_of(sequence.state); page >= 0) states_.drop(page);
    return states_.references(sequence.state) == 1;
}

void KvCache::settle(KvSequence& sequence) {
    if (sequence.fresh < 0) return;
    if (sequence.state >= 0) states_.unreference(sequence.state);
    sequence.state = std::exchange(sequence.fresh, -1);
}

void KvCache::remember(KvSequence& sequence, const std::vector<int32_t>& tokens, int64_t cached,
                       bool passing) {
    if (!keep_) return;
    for (; (sequence.entered + 1) * kPageTokens <= cached; ++sequence.entered) {
        int32_t& page = sequence.pages[size_t(sequence.entered)];
        auto entry =
            tree_.insert(sequence.last, tokens.data() + sequence.entered * kPageTokens, page);
        sequence.last = entry.node;
        if (entry.page == page) continue;
        reference(entry.page);
        unreference(page);
        page = entry.page;
    }
    if (states_.any() && cached > 0 && cached % kPageTokens == 0)
        keep_state(sequence, sequence.pages[size_t(cached / kPageTokens) - 1], passing);
}

// A long answer would push all other snapshots out, and who goes on with it starts from its end.
void KvCache::keep_state(KvSequence& sequence, int32_t page, bool passing) {
    if (passing && sequence.passed >= 0) states_.drop(sequence.passed);
    bool kept = states_.keep(page, sequence.state);
    sequence.passed = kept && passing ? page : -1;
}

void KvCache::forget(KvSequence& sequence, int64_t kept, int64_t token) {
    for (int64_t page = pages_for(kept) + sequence.forgotten; (page + 1) * kPageTokens <= token;
         ++page, ++sequence.forgotten) {
        unreference(sequence.pages[size_t(page)]);
        sequence.pages[size_t(page)] = -1;
    }
}

// From the end: of a prefix that nobody used for long, the last pages go first.
void KvCache::release(KvSequence& sequence) {
    for (size_t i = sequence.pages.size(); i-- > 0;)
        if (sequence.pages[i] >= 0) unreference(sequence.pages[i]);
    for (int32_t slot : {sequence.state, sequence.fresh})
        if (slot >= 0) states_.unreference(slot);
    sequence = {};
}

double KvCache::share_of(const KvSequence& sequence) const {
    double held = double(int64_t(sequence.pages.size()) - sequence.forgotten);
    if (shared_ == 0) return held;
    for (int32_t page : sequence.pages)
        if (page >= 0 && references_[size_t(page)] > 1) held -= 1 - 1.0 / references_[size_t(page)];
    return held;
}

double KvCache::bytes_of(const KvSequence& sequence) const {
    double bytes = double(page_bytes()) * share_of(sequence);
    for (int32_t slot : {sequence.state, sequence.fresh})
        if (slot >= 0) bytes += double(states_.slot_bytes()) / states_.references(slot);
    return bytes;
}

void KvCache::read_page(int32_t page, std::byte* to) const {
    for (const Piece& piece : pieces_) {
        piece.memory->read(piece.at(page), to, piece.bytes);
        to += piece.bytes;
    }
}

void KvCache::write_page(int32_t page, const std::byte* from) {
    for (const Piece& piece : pieces_) {
        piece.memory->write(piece.at(page), from, piece.bytes);
        from += piece.bytes;
    }
}

int32_t KvCache::empty_run() const {
    for (size_t run = 0; run < run_used_.size(); ++run)
        if (run_used_[run] == 0) return int32_t(run);
    return -1;
}

int32_t KvCache::append_page(KvSequence& sequence) {
    int64_t index = int64_t(sequence.pages.size());
    int32_t page = take_page(index, index > 0 ? sequence.pages.back() : -1);
    if (page >= 0) sequence.pages.push_back(page);
    return page;
}

void KvCache::copy_page(int32_t from, int32_t to) {
    for (const Piece& piece : pieces_)
        piece.memory->copy(piece.at(to), piece.at(from), piece.bytes);
    on_device_.finish();
    if (on_copy_) on_copy_(from, to);
}

int32_t KvCache::take_page(int64_t index, int32_t before) {
    const int32_t place = int32_t(index % kRunPages);
    const int32_t next = before < 0 ? -1 : before + 1;
    auto is_free = [&](int32_t page) {
        return references_[size_t(page)] == 0 && !tree_.holds(page);
    };
    int32_t page = -1;
    if (place > 0 && next > 0 && next % kRunPages == place && is_free(next)) {
        page = next;
    } else {
        // Kept pages mostly end together, a sequence's, so that a run is soon empty.
        int32_t run = empty_run();
        for (int i = 0; i < kRunPages && run < 0 && !kept_.empty(); ++i) {
            drop_oldest();
            run = empty_run();
        }
        if (run >= 0) page = run * kRunPages + place;
        for (size_t i = 0; i < references_.size() && page < 0; ++i)
            if (is_free(int32_t(i))) page = int32_t(i);
    }
    if (page < 0) return -1;
    --free_;
    ++run_used_[size_t(page / kRunPages)];
    references_[size_t(page)] = 1;
    return page;
}

void KvCache::reference(int32_t page) {
    int32_t users = ++references_[size_t(page)];
    if (users == 1) kept_.erase(kept_at_[size_t(page)]);
    if (users == 2) ++shared_;
}

void KvCache::unreference(int32_t page) {
    int32_t users = --references_[size_t(page)];
    if (users == 1) --shared_;
    if (users > 0) return;
    if (tree_.holds(page)) {
        kept_at_[size_t(page)] = kept_.insert(kept_.end(), page);
        return;
    }
    ++free_;
    --run_used_[size_t(page / kRunPages)];
}

void KvCache::drop_oldest() {
    int32_t page = kept_.front();
    kept_.pop_front();
    tree_.erase(page);
    states_.drop(page);
    ++free_;
    --run_used_[size_t(page / kRunPages)];
}

}  // namespace genfast

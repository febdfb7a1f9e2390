#include "engine/state_cache.h"

#include <algorithm>

#include "core/error.h"

namespace genfast {

StateCache::StateCache(int64_t floats, int64_t slots, int64_t pages, const Device* device)
    : floats_(floats), memory_(floats > 0 ? size_t(floats * slots) * sizeof(float) : 0, device) {
    if (!any()) return;
    require(slots >= 2, slots, " slots for recurrent state: a step may need a second one");
    references_.assign(size_t(slots), 0);
    page_of_.assign(size_t(slots), -1);
    places_.assign(size_t(pages), snapshots_.end());
    for (int64_t slot = slots; slot-- > 0;) free_.push_back(int32_t(slot));
}

std::vector<std::byte> StateCache::read(int32_t slot) const {
    std::vector<std::byte> state(static_cast<size_t>(slot_bytes()));
    memory_.read(size_t(slot * slot_bytes()), state.data(), state.size());
    return state;
}

void StateCache::write(int32_t slot, std::span<const std::byte> state) const {
    memory_.write(size_t(slot * slot_bytes()), state.data(), state.size());
}

int32_t StateCache::take() {
    if (free_.empty()) {
        // A snapshot that a sequence still uses would free nothing.
        auto oldest = std::find_if(snapshots_.begin(), snapshots_.end(),
                                   [&](const Snapshot& s) { return references(s.slot) == 1; });
        if (oldest == snapshots_.end()) return -1;
        drop(oldest->page);
    }
    int32_t slot = free_.back();
    free_.pop_back();
    references_[size_t(slot)] = 1;
    return slot;
}

void StateCache::reference(int32_t slot) {
    if (++references_[size_t(slot)] == 2 && page_of(slot) >= 0) --idle_;
}

void StateCache::unreference(int32_t slot) {
    int32_t left = --references_[size_t(slot)];
    if (left == 1 && page_of(slot) >= 0) ++idle_;
    if (left == 0) free_.push_back(slot);
}

// A slot has one page at most: the state after its last token.
bool StateCache::keep(int32_t page, int32_t slot) {
    if (snapshot(page) >= 0 || page_of(slot) >= 0) return false;
    reference(slot);
    page_of_[size_t(slot)] = page;
    places_[size_t(page)] = snapshots_.insert(snapshots_.end(), {page, slot});
    return true;
}

int32_t StateCache::snapshot(int32_t page) const {
    if (!any()) return -1;
    auto place = places_[size_t(page)];
    return place == snapshots_.end() ? -1 : place->slot;
}

void StateCache::touch(int32_t page) {
    snapshots_.splice(snapshots_.end(), snapshots_, places_[size_t(page)]);
}

void StateCache::drop(int32_t page) {
    int32_t slot = snapshot(page);
    if (slot < 0) return;
    snapshots_.erase(places_[size_t(page)]);
    places_[size_t(page)] = snapshots_.end();
    if (references(slot) == 1) --idle_;
    page_of_[size_t(slot)] = -1;
    unreference(slot);
}

}  // namespace genfast

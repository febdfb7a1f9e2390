// Recurrent state: slots handed out to sequences, and snapshots of it.
//
// A slot holds the state of all layers after some token of a sequence. Unlike a page it is large,
// and says nothing of the tokens before. So sequences that part share a slot until each has taken
// its next step, which reads the shared one and writes one of its own: nothing is ever copied.
//
// A snapshot is a slot that a page of the prefix tree refers to: the state after the page's last
// token. When slots are short, the snapshot unused for longest goes first.
#pragma once

#include <cstdint>
#include <list>
#include <span>
#include <vector>

#include "core/device.h"
#include "kernels/sequence_span.h"

namespace genfast {

class StateCache {
  public:
    // floats: of a slot; 0: no state at all. pages: of the prefix tree. device: where it lies.
    StateCache(int64_t floats, int64_t slots, int64_t pages, const Device* device = nullptr);

    bool any() const { return floats_ > 0; }
    StateSlots slots() const { return {reinterpret_cast<float*>(memory_.data()), floats_}; }
    int64_t slot_bytes() const { return floats_ * int64_t(sizeof(float)); }
    int64_t count() const { return int64_t(references_.size()); }
    int64_t snapshots() const { return int64_t(snapshots_.size()); }
    // Those that sequences use.
    int64_t in_use() const { return count() - int64_t(free_.size()) - idle_; }

    std::vector<std::byte> read(int32_t slot) const;
    void write(int32_t slot, std::span<const std::byte> state) const;

    int32_t take();  // -1: all are in use
    void reference(int32_t slot);
    void unreference(int32_t slot);
    int32_t references(int32_t slot) const { return references_[size_t(slot)]; }

    // As the page's snapshot; false: it has one.
    bool keep(int32_t page, int32_t slot);
    int32_t snapshot(int32_t page) const;  // -1: none
    void touch(int32_t page);              // its snapshot was used
    void drop(int32_t page);               // its snapshot, if it has one
    int32_t page_of(int32_t slot) const { return page_of_[size_t(slot)]; }  // -1: no snapshot

  private:
    struct Snapshot {
        int32_t page, slot;
    };
    using Snapshots = std::list<Snapshot>;

    const int64_t floats_;
    Memory memory_;
    std::vector<int32_t> references_;          // by slot: sequences, and one for a snapshot
    std::vector<int32_t> page_of_;             // by slot: whose snapshot it is; -1: none's
    std::vector<int32_t> free_;                // the last one goes next
    int64_t idle_ = 0;                         // snapshots that no sequence uses
    Snapshots snapshots_;                      // the one unused for longest first
    std::vector<Snapshots::iterator> places_;  // by page
};

}  // namespace genfast

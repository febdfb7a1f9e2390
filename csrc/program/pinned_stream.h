// Sends the contents of mapped files to a device through two pinned buffers of a fixed size: the
// threads fill one, which reads the file, while the other is on its way.
#pragma once

#include <algorithm>
#include <cstring>

#include "core/device.h"
#include "core/thread_pool.h"

namespace genfast {

class PinnedStream {
  public:
    static constexpr size_t kMost = size_t(16) << 20;  // bytes of a buffer

    // largest: bytes of what will be sent at once, at most; buffers need be no longer.
    PinnedStream(const Device& device, ThreadPool& pool, size_t largest)
        : device_(device), pool_(pool) {
        for (PinnedMemory& buffer : buffers_)
            buffer = PinnedMemory(std::min(largest, kMost), device);
    }

    // On return `from` may change; `to` holds it after finish().
    void send(std::byte* to, const std::byte* from, size_t bytes) {
        for (size_t at = 0; at < bytes;) {
            const PinnedMemory& buffer = buffers_[turn_];
            const size_t count = std::min(buffer.size(), bytes - at);
            pool_.run([&](Team& team) {
                const Range mine = share(int64_t(count), team, 4096);
                std::memcpy(buffer.data() + mine.begin, from + at + mine.begin,
                            size_t(mine.end - mine.begin));
            });
            device_.wait();  // for the other buffer, which went while this one was filled
            device_.upload(to + at, buffer.data(), count);
            at += count;
            turn_ = 1 - turn_;
        }
    }
    void finish() { device_.wait(); }

  private:
    const Device& device_;
    ThreadPool& pool_;
    PinnedMemory buffers_[2];
    int turn_ = 0;
};

}  // namespace genfast

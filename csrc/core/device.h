// A device with memory of its own, as the engine sees it; and memory there or here.
//
// Work is queued in order, a queue for each calling thread. Functions throw std::bad_alloc or
// std::runtime_error.
#pragma once

#include <cstddef>
#include <cstring>
#include <utility>

#include "core/buffer.h"

namespace genfast {

struct DeviceGraph;  // work that was captured

struct Device {
    const char* name;
    int count;  // of such devices; this is the first
    size_t (*free_bytes)();
    std::byte* (*allocate)(size_t bytes);  // zeroed
    void (*release)(std::byte* memory);
    // The CPU's own, from and to which copies are fast.
    std::byte* (*allocate_host)(size_t bytes);
    void (*release_host)(std::byte* memory);
    // Queued: memory of the CPU must stay as it is until wait().
    void (*upload)(std::byte* to, const void* from, size_t bytes);
    void (*download)(void* to, const std::byte* from, size_t bytes);
    void (*copy)(std::byte* to, const std::byte* from, size_t bytes);
    void (*wait)();
    bool (*idle)();  // whether all that was queued is done
    // What is queued in between is not done but kept, to be queued as a whole by replay.
    void (*begin_capture)();
    DeviceGraph* (*end_capture)();
    void (*replay)(DeviceGraph* graph);
    void (*destroy)(DeviceGraph* graph);
};

// Zeroed memory of a device or, where that is null, of the CPU. Copies are done on return, but for
// `copy`, which needs finish().
class Memory {
  public:
    Memory() = default;
    Memory(size_t bytes, const Device* device) : device_(device), size_(bytes) {
        if (device_)
            data_ = device_->allocate(bytes);
        else
            buffer_ = Buffer(bytes);
    }
    ~Memory() {
        if (data_) device_->release(data_);
    }
    Memory(Memory&& other) noexcept { swap(other); }
    Memory& operator=(Memory&& other) noexcept {
        swap(other);
        return *this;
    }

    std::byte* data() const { return device_ ? data_ : buffer_.data(); }
    size_t size() const { return size_; }

    void read(size_t at, void* to, size_t bytes) const {
        if (!device_) {
            std::memcpy(to, data() + at, bytes);
            return;
        }
        device_->download(to, data_ + at, bytes);
        device_->wait();
    }
    void write(size_t at, const void* from, size_t bytes) const {
        if (!device_) {
            std::memcpy(data() + at, from, bytes);
            return;
        }
        device_->upload(data_ + at, from, bytes);
        device_->wait();
    }
    void copy(size_t to, size_t from, size_t bytes) {
        if (device_)
            device_->copy(data_ + to, data_ + from, bytes);
        else
            std::memcpy(data() + to, data() + from, bytes);
    }
    void finish() {
        if (device_) device_->wait();
    }

  private:
    void swap(Memory& other) noexcept {
        std::swap(device_, other.device_);
        std::swap(data_, other.data_);
        std::swap(size_, other.size_);
        std::swap(buffer_, other.buffer_);
    }

    const Device* device_ = nullptr;
    std::byte* data_ = nullptr;  // the device's
    size_t size_ = 0;
    Buffer buffer_;
};

// The CPU's, from and to which a device copies while both work.
class PinnedMemory {
  public:
    PinnedMemory() = default;
    PinnedMemory(size_t bytes, const Device& device)
        : release_(device.release_host), data_(device.allocate_host(bytes)), size_(bytes) {}
    ~PinnedMemory() {
        if (data_) release_(data_);
    }
    PinnedMemory(PinnedMemory&& other) noexcept { swap(other); }
    PinnedMemory& operator=(PinnedMemory&& other) noexcept {
        swap(other);
        return *this;
    }

    std::byte* data() const { return data_; }
    size_t size() const { return size_; }

  private:
    void swap(PinnedMemory& other) noexcept {
        std::swap(release_, other.release_);
        std::swap(data_, other.data_);
        std::swap(size_, other.size_);
    }

    void (*release_)(std::byte*) = nullptr;
    std::byte* data_ = nullptr;
    size_t size_ = 0;
};

}  // namespace genfast

// Memory for weights, activations and the KV cache: 64-byte aligned and zeroed. Large buffers come
// straight from the kernel, so pages never touched cost nothing, and ask for huge pages.
#pragma once

#include <cstddef>
#include <utility>

namespace genfast {

class Buffer {
  public:
    Buffer() = default;
    explicit Buffer(size_t bytes);  // throws std::bad_alloc
    ~Buffer() { release(); }
    Buffer(Buffer&& other) noexcept { swap(other); }
    Buffer& operator=(Buffer&& other) noexcept {
        swap(other);
        return *this;
    }

    std::byte* data() const { return data_; }
    size_t size() const { return size_; }
    template <class T>
    T* as() const {
        return reinterpret_cast<T*>(data_);
    }

  private:
    void release();
    void swap(Buffer& other) noexcept {
        std::swap(data_, other.data_);
        std::swap(size_, other.size_);
        std::swap(mapped_, other.mapped_);
    }

    std::byte* data_ = nullptr;
    size_t size_ = 0;
    size_t mapped_ = 0;  // bytes mapped, or 0 when the memory came from the heap
};

}  // namespace genfast

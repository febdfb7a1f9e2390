#include "core/buffer.h"

#include <cstring>
#include <new>

#if defined(__unix__) || defined(__APPLE__)
#include <sys/mman.h>
#endif

namespace genfast {
namespace {

constexpr size_t kAlignment = 64;
constexpr size_t kHugePage = size_t(2) << 20;

}  // namespace

Buffer::Buffer(size_t bytes) {
    if (bytes == 0) return;
#if defined(__unix__) || defined(__APPLE__)
    if (bytes >= kHugePage) {
        size_t rounded = (bytes + kHugePage - 1) / kHugePage * kHugePage;
        if (rounded < bytes) throw std::bad_alloc();
        void* memory = mmap(nullptr, rounded, PROT_READ | PROT_WRITE,
                            MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (memory == MAP_FAILED) throw std::bad_alloc();
#if defined(MADV_HUGEPAGE)
        // Advice only: refusal is fine. The rest stays in small pages: 65 matrices, each with a
        // huge page for its last few kilobytes, were a seventh more memory.
        const size_t whole = bytes / kHugePage * kHugePage;
        madvise(memory, whole, MADV_HUGEPAGE);
        if (whole < rounded)
            madvise(static_cast<std::byte*>(memory) + whole, rounded - whole, MADV_NOHUGEPAGE);
#endif
        data_ = static_cast<std::byte*>(memory);
        size_ = bytes;
        mapped_ = rounded;
        return;
    }
#endif
    size_t rounded = (bytes + kAlignment - 1) / kAlignment * kAlignment;
    data_ = static_cast<std::byte*>(::operator new(rounded, std::align_val_t(kAlignment)));
    std::memset(data_, 0, rounded);
    size_ = bytes;
}

void Buffer::release() {
    if (!data_) return;
#if defined(__unix__) || defined(__APPLE__)
    if (mapped_) {
        munmap(data_, mapped_);
        data_ = nullptr;
        return;
    }
#endif
    ::operator delete(data_, std::align_val_t(kAlignment));
    data_ = nullptr;
}

}  // namespace genfast

#include "core/slab.h"

#include <mutex>

#include "core/buffer.h"

namespace genfast {
namespace {

constexpr size_t kAlignment = 64;
constexpr size_t kSlab = size_t(32) << 20;
constexpr size_t kSmallest = size_t(128) << 10;  // below, a matrix stays in a cache
constexpr size_t kLargest = size_t(8) << 20;     // above, few of its pages are not huge anyway

}  // namespace

std::shared_ptr<std::byte> weight_memory(size_t bytes) {
    if (bytes < kSmallest || bytes > kLargest) {
        auto own = std::make_shared<Buffer>(bytes);
        return {own, own->data()};
    }
    static std::mutex mutex;
    static std::weak_ptr<Buffer> current;
    static size_t used = 0;
    std::lock_guard lock(mutex);
    std::shared_ptr<Buffer> slab = current.lock();
    if (!slab || used + bytes > kSlab) {
        slab = std::make_shared<Buffer>(kSlab);
        current = slab;
        used = 0;
    }
    std::byte* piece = slab->data() + used;
    used += (bytes + kAlignment - 1) / kAlignment * kAlignment;
    return {slab, piece};
}

}  // namespace genfast

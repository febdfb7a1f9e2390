// Memory whose end is watched.
#pragma once

#include <sys/mman.h>
#include <unistd.h>

#include <cstddef>

#include "core/error.h"

namespace genfast {

// Memory that ends where no page follows: to read or write beyond it ends the program.
class Guarded {
  public:
    explicit Guarded(size_t bytes) : page_(size_t(sysconf(_SC_PAGESIZE))) {
        used_ = (bytes + page_ - 1) / page_ * page_;
        void* pages = mmap(nullptr, used_ + page_, PROT_READ | PROT_WRITE,
                           MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        require(pages != MAP_FAILED, "mmap failed");
        pages_ = static_cast<std::byte*>(pages);
        require(mprotect(pages_ + used_, page_, PROT_NONE) == 0, "mprotect failed");
        data_ = pages_ + used_ - bytes;
    }
    ~Guarded() { munmap(pages_, used_ + page_); }
    Guarded(const Guarded&) = delete;
    Guarded& operator=(const Guarded&) = delete;
    std::byte* data() const { return data_; }

  private:
    size_t page_, used_;
    std::byte *pages_, *data_;
};

}  // namespace genfast

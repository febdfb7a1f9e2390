#include "io/pages.h"

#include <cstdint>

#if defined(__unix__) || defined(__APPLE__)
#include <sys/mman.h>
#include <unistd.h>
#endif

namespace genfast {

void release_pages(const void* data, size_t bytes) {
#if defined(__unix__) || defined(__APPLE__)
    static const uintptr_t page = uintptr_t(sysconf(_SC_PAGESIZE));
    const uintptr_t address = reinterpret_cast<uintptr_t>(data);
    const uintptr_t begin = address / page * page;
    // Advice only: where it is refused the pages stay.
    madvise(reinterpret_cast<void*>(begin), address + bytes - begin, MADV_DONTNEED);
#else
    (void)data, (void)bytes;
#endif
}

}  // namespace genfast

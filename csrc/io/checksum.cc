#include "io/checksum.h"

#include <algorithm>

namespace genfast {

std::vector<Digest> checksum(const std::byte* data, size_t bytes, ThreadPool& pool) {
    std::vector<Digest> sums((bytes + kChecksumChunk - 1) / kChecksumChunk);
    pool.run([&](Team& team) {
        team.each_job(int64_t(sums.size()), [&](int64_t chunk) {
            const size_t begin = size_t(chunk) * kChecksumChunk;
            sums[size_t(chunk)] = digest(data + begin, std::min(kChecksumChunk, bytes - begin));
        });
    });
    return sums;
}

}  // namespace genfast

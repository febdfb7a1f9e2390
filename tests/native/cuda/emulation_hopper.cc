#include "cuda/emulation_hopper.h"

#include <vector>

namespace genfast::emulation {
namespace {

constexpr int kWords = 8;  // of a row, along K
constexpr int kSwizzled[] = {0, 128, 64, 32};

// A word of b where the PTX ISA says it lies ("Matrix descriptor", "Shared memory matrix layout").
// The same is done to every address: its bits from 4 on are turned by those from 7 on.
uint32_t word_of(uint64_t b, int row, int word) {
    const uint32_t start = uint32_t(b & 0x3fff) << 4, along_k = uint32_t(b >> 16 & 0x3fff) << 4,
                   along_rows = uint32_t(b >> 32 & 0x3fff) << 4;
    const uint32_t piece = uint32_t(word / 4), swizzled = uint32_t(kSwizzled[b >> 62]);
    uint32_t at = start + uint32_t(row / 8) * along_rows + uint32_t(word % 4) * 4;
    at += swizzled ? uint32_t(row % 8) * swizzled + piece * 16
                   : uint32_t(row % 8) * 16 + piece * along_k;
    if (swizzled) at ^= (at >> 7 & (swizzled / 16 - 1)) << 4;
    uint32_t found;
    std::memcpy(&found, shared_memory() + at, sizeof(found));
    return found;
}

thread_local std::vector<bool> fenced;  // threads whose products may begin

}  // namespace

void fence_products() {
    meet_warpgroup();
    fenced.resize(1024);
    fenced[threadIdx.x] = true;
}

void end_products() {
    fenced[threadIdx.x] = false;
    end_group(Beside::products);
}

template <class Sum>
void multiply_beside(Sum* sum, int columns, const uint32_t (&a)[4], uint64_t b, Dot<Sum> dot) {
    if (fenced.size() <= threadIdx.x || !fenced[threadIdx.x])
        fail("products of registers that were not fenced");
    const Words* lanes = gather({a[0], a[1], a[2], a[3]});
    const int g = int(threadIdx.x % 32) / 4, t = int(threadIdx.x % 32) % 4;
    std::array<std::array<uint32_t, kWords>, 2> rows;  // g and g + 8
    for (size_t row = 0; row < 2; ++row)
        for (size_t word = 0; word < kWords; ++word)
            rows[row][word] = lanes[size_t(g) * 4 + word % 4][word / 4 * 2 + row];
    meet_warpgroup();
    begin_beside(Beside::products, [=] {
        for (int i = 0; i < columns / 2; ++i)
            for (int word = 0; word < kWords; ++word)
                dot(sum[i], rows[size_t(i / 2 % 2)][size_t(word)],
                    word_of(b, i / 4 * 8 + 2 * t + i % 2, word));
    });
}
template void multiply_beside(float*, int, const uint32_t (&)[4], uint64_t, Dot<float>);
template void multiply_beside(int32_t*, int, const uint32_t (&)[4], uint64_t, Dot<int32_t>);

}  // namespace genfast::emulation

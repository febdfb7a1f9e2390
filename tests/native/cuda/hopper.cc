// What stands for Hopper's own instructions, by itself: copies, barriers, products, and that the
// emulation finds them used wrongly.
#define GENFAST_CUDA_EMULATION "cuda/emulation.h"

#include "cuda/tensor_core.h"
#include "cuda/wgmma.h"
#include "kernels/check.h"

namespace genfast {
namespace {

using cuda::Swizzle;

constexpr int kRows = 64, kWords = 8;  // of a, along K
constexpr int kMostColumns = 256;

// Where the word of a row of b lies, in words, and from where on, in bytes, the next eight rows do.
struct Layout {
    Swizzle swizzle;
    int along_rows;

    int place(int row, int word) const {
        const int bytes = along_rows / 8, piece = word / 4;
        if (swizzle == Swizzle::none)
            return row / 8 * along_rows / 4 + piece * 32 + row % 8 * 4 + word % 4;
        const int turned = piece ^ (row % 8 * bytes / 128);
        return row * bytes / 4 + turned * 4 + word % 4;
    }
};
constexpr Layout kLayouts[] = {{Swizzle::none, 256},
                               {Swizzle::bytes32, 256},
                               {Swizzle::bytes64, 512},
                               {Swizzle::bytes128, 1024}};

// What may be done wrongly.
struct Wrong {
    bool unfenced = false, unwaited = false, too_soon = false;
    Swizzle swizzle = Swizzle::none;
};

struct Product {
    const uint32_t *a, *b;
    void* out;  // [64, columns]
    Layout layout;
    Wrong wrong;
};

template <class Sum, int N>
void multiply(Product p) {
    cuda::wait_for_earlier_launches();
    struct Shared {
        alignas(1024) uint32_t b[kMostColumns * 32];
        cuda::Mbarrier there;
    };
    auto* shared = reinterpret_cast<Shared*>(cuda::dynamic_shared());
    if (threadIdx.x == 0) shared->there.init(1);
    cuda::fence_mbarriers();
    __syncthreads();
    const int bytes = N / 8 * p.layout.along_rows;
    if (threadIdx.x == 0) {
        shared->there.arrive_expecting(bytes);
        for (int at = 0; at < bytes; at += bytes / N)
            cuda::copy_bulk(shared->b + at / 4, p.b + at / 4, bytes / N, shared->there);
    }
    const int row = cuda::warp() % 4 * 16 + cuda::lane_row(), t = cuda::lane_word();
    const uint32_t a[] = {p.a[row * kWords + t], p.a[(row + 8) * kWords + t],
                          p.a[row * kWords + t + 4], p.a[(row + 8) * kWords + t + 4]};
    Sum sum[N / 2] = {};
    const uint64_t b = cuda::describe(shared->b, 128, p.layout.along_rows, p.wrong.swizzle);
    if (!p.wrong.too_soon) shared->there.wait(0);
    if (!p.wrong.unfenced) cuda::fence_products();
    if constexpr (std::is_same_v<Sum, float>)
        cuda::wgmma_bf16<N>(sum, a, b);
    else
        cuda::wgmma_s8<N>(sum, a, b);
    cuda::end_products();
    if (!p.wrong.unwaited) cuda::wait_for_products<0>();
    for (int i = 0; i < N / 2; ++i)
        static_cast<Sum*>(p.out)[(row + i / 2 % 2 * 8) * N + i / 4 * 8 + cuda::lane_column(i)] =
            sum[i];
    cuda::wait_for_products<0>();
    shared->there.wait(0);
}

// The same, by plain loops.
template <class Sum>
Sum dot(const uint32_t* a, const uint32_t* b) {
    double sum = 0;
    for (int i = 0; i < kWords; ++i)
        for (int bit = 0; bit < 32; bit += std::is_same_v<Sum, float> ? 16 : 8)
            if constexpr (std::is_same_v<Sum, float>)
                sum +=
                    double(bf16_to_f32(uint16_t(a[i] >> bit))) * bf16_to_f32(uint16_t(b[i] >> bit));
            else
                sum += int(int8_t(a[i] >> bit)) * int(int8_t(b[i] >> bit));
    return Sum(sum);
}

template <class Sum, int N>
bool is_right(Check& c, const Layout& layout, Wrong wrong) {
    auto random = [&](int count) {
        std::vector<uint32_t> words(static_cast<size_t>(count));
        for (uint32_t& word : words)
            word = std::is_same_v<Sum, float>
                       ? cuda::bf16_pair(float(c.numbers.integer(-9, 9)), c.numbers.bell())
                       : uint32_t(c.numbers.integer(0, 0xffffffff));
        return words;
    };
    const std::vector<uint32_t> a = random(kRows * kWords), b = random(N * kWords);
    std::vector<uint32_t> placed(size_t(N / 8 * layout.along_rows / 4));
    for (int n = 0; n < N; ++n)
        for (int word = 0; word < kWords; ++word)
            placed[size_t(layout.place(n, word))] = b[size_t(n * kWords + word)];
    std::vector<Sum> out(size_t(kRows * N));
    cuda::launch_with_shared(multiply<Sum, N>, size_t(kMostColumns * 128 + 1024), dim3(1), 128,
                             Product{a.data(), placed.data(), out.data(), layout, wrong});
    for (int row = 0; row < kRows; ++row)
        for (int n = 0; n < N; ++n) {
            const double off = double(out[size_t(row * N + n)]) -
                               dot<Sum>(a.data() + row * kWords, b.data() + n * kWords);
            // Sixteen products below 2^5, whose sums are rounded.
            const double allowed = std::is_same_v<Sum, float> ? 16 * 16 * 32 * kEps : 0;
            if (!(off <= allowed && -off <= allowed)) return false;
        }
    return true;
}

template <class Sum, int N>
void check_products(Check& c) {
    for (const Layout& layout : kLayouts)
        for (int way = 0; way < 8; ++way)
            c.expect(is_right<Sum, N>(c, layout, {.swizzle = layout.swizzle}),
                     cat("a product of ", N, " columns, swizzle ", int(layout.swizzle)));
}

// In some of the orders in which things may happen, at least.
void check_found(Check& c, const char* what, const Layout& layout, Wrong wrong) {
    bool found = false;
    for (int way = 0; way < 8; ++way) try {
            found |= !is_right<float, 32>(c, layout, wrong);
        } catch (const std::logic_error&) {
            found = true;
        }
    c.expect(found, cat("unnoticed: ", what));
}

}  // namespace

void check_hopper(Check& c) {
    check_products<float, 8>(c);
    check_products<float, 96>(c);
    check_products<float, 256>(c);
    check_products<int32_t, 16>(c);
    check_products<int32_t, 128>(c);
    check_found(c, "products without a fence", kLayouts[0], {.unfenced = true});
    check_found(c, "sums read before the wait", kLayouts[0], {.unwaited = true});
    check_found(c, "b read before it is there", kLayouts[0], {.too_soon = true});
    check_found(c, "b described as swizzled", kLayouts[0], {.swizzle = Swizzle::bytes32});
    check_found(c, "b described as not swizzled", kLayouts[3], {});
    check_found(c, "another swizzle", kLayouts[2], {.swizzle = Swizzle::bytes128});
}

}  // namespace genfast

// A team shrinks while other work runs (core/crowd.h), and a step may have fewer rows than were
// planned for: no smaller team and no fewer rows may need more scratch. Any team gives the same
// bits.
#include <cstdio>
#include <cstring>
#include <random>

#include "core/thread_pool.h"
#include "guarded.h"
#include "kernels/dispatch.h"
#include "program/packed_matrix.h"
#include "selftest.h"

namespace genfast {
namespace {

constexpr int kSeeds = 6, kMostThreads = 6;

struct Dice {
    std::mt19937_64 bits;
    int64_t below(int64_t n) { return int64_t(bits() % uint64_t(n)); }
    int64_t upto(int64_t n) { return 1 + below(n); }
};

PackedMatrix random_matrix(Format format, int64_t N, int64_t K, uint64_t seed) {
    const std::vector<float> numbers = noise(seed, 1, N * K);
    return PackedMatrix::pack(format, {{numbers.data(), DType::f32, N, K, false}}, false,
                              shared_pool(1));
}

// run(scratch, team, out) within `bytes` by a team of each size up to `most`; its numbers.
template <class Run>
void by_any_team(const std::string& what, int most, size_t bytes, int64_t count, Run run) {
    const Guarded scratch(bytes);
    std::vector<float> first;
    for (int threads = 1; threads <= most; ++threads) {
        std::vector<float> out(static_cast<size_t>(count));
        std::memset(scratch.data(), 0xff, bytes);
        shared_pool(threads).run([&](Team& team) { run(scratch.data(), team, out.data()); });
        if (first.empty()) first = out;
        expect(std::memcmp(first.data(), out.data(), out.size() * sizeof(float)) == 0,
               cat(what, " with ", threads, " threads"));
    }
}

void matmul(const Kernels& kernels, Format format, Dice dice, uint64_t seed) {
    const bool long_rows = dice.below(3) == 0;  // in blocks of K by AVX-512, too
    const int64_t K = long_rows ? 2048 + dice.upto(2500) : dice.upto(700);
    const int64_t N = dice.upto(100), M = dice.upto(long_rows ? 400 : 2500);
    const PackedMatrix w = random_matrix(format, N, K, seed);
    const std::vector<float> x = noise(seed, 2, M * K);
    const int threads = int(dice.upto(kMostThreads));
    const size_t bytes = kernels.matmul_scratch_bytes(w.view(), M, threads);
    for (int64_t rows : {M, dice.upto(M), dice.upto(M), int64_t(1)})
        by_any_team(cat("matmul by ", kernels.matmul_variant(format), ", seed ", seed, ": ", rows,
                        " of ", M, " x ", N, " x ", K),
                    threads, bytes, rows * N, [&](std::byte* scratch, Team& team, float* out) {
                        kernels.matmul({x.data(), w.view(), nullptr, nullptr, out, scratch, rows,
                                        Activation::none},
                                       team);
                    });
}

void conv2d(const Kernels& kernels, Format format, Dice dice, uint64_t seed) {
    Conv2dArgs a{};
    const bool long_rows = dice.below(3) == 0;
    a.N = dice.upto(2), a.H = dice.upto(long_rows ? 20 : 48), a.W = dice.upto(long_rows ? 20 : 48);
    a.C = long_rows ? 320 : dice.below(2) ? 64 : dice.upto(40);
    a.kernel_h = a.kernel_w = 3, a.top = a.left = 1, a.stride = dice.upto(2);
    a.out_h = (a.H - 1) / a.stride + 1, a.out_w = (a.W - 1) / a.stride + 1;
    const int64_t O = dice.upto(40);
    const PackedMatrix w = random_matrix(format, O, 9 * a.C, seed);
    const std::vector<float> x = noise(seed, 2, a.N * a.H * a.W * a.C);
    a.w = w.view(), a.x = x.data();
    const int threads = int(dice.upto(kMostThreads));
    by_any_team(cat("conv2d by ", kernels.matmul_variant(format), ", seed ", seed, ": ", a.N, " x ",
                    a.H, " x ", a.W, " x ", a.C, " by ", a.stride),
                threads, kernels.conv2d_scratch_bytes(a, threads), a.N * a.out_h * a.out_w * O,
                [&](std::byte* scratch, Team& team, float* out) {
                    Conv2dArgs own = a;
                    own.scratch = scratch, own.out = out;
                    kernels.conv2d(own, team);
                });
}

void winograd_conv2d(const Kernels& kernels, Format format, Dice dice, uint64_t seed) {
    WinogradConv2dArgs a{};
    a.N = dice.upto(2), a.H = dice.upto(64), a.W = dice.upto(64);
    a.C = 16 * dice.upto(3), a.O = 16 * dice.upto(3);
    const int64_t N = kWinogradPlaces * round_up(a.O, kPanelRows);
    const PackedMatrix w = random_matrix(format, N, a.C, seed);
    const std::vector<float> x = noise(seed, 2, a.N * a.H * a.W * a.C);
    a.w = w.view(), a.x = x.data();
    const int threads = int(dice.upto(kMostThreads));
    by_any_team(cat("winograd_conv2d by ", kernels.matmul_variant(format), ", seed ", seed),
                threads, kernels.winograd_conv2d_scratch_bytes(a, threads), a.N * a.H * a.W * a.O,
                [&](std::byte* scratch, Team& team, float* out) {
                    WinogradConv2dArgs own = a;
                    own.scratch = scratch, own.out = out;
                    kernels.winograd_conv2d(own, team);
                });
}

}  // namespace

void scratch() {
    const uint64_t first = std::random_device{}();
    std::printf("scratch: seeds from %llu on\n", static_cast<unsigned long long>(first));
    std::fflush(stdout);  // what is written beyond scratch ends the program
    for (const std::string& isa : available_isas()) {
        if (isa == "ref") continue;  // needs none
        for (Format format :
             {Format::f32, Format::f16, Format::bf16, Format::fp8, Format::int8, Format::int4})
            for (uint64_t seed = first; seed < first + kSeeds; ++seed) {
                const Dice dice{std::mt19937_64(seed)};
                matmul(kernels_for(isa), format, dice, seed);
                conv2d(kernels_for(isa), format, dice, seed);
                winograd_conv2d(kernels_for(isa), format, dice, seed);
            }
    }
}

}  // namespace genfast

// full_attention with AMX: over emulated tile registers on any machine with AVX2, as amx.cc.
#include <cmath>
#include <cstring>
#include <memory>
#include <vector>

#include "amx_emulation.h"
#include "core/cpu.h"
#include "core/error.h"
#include "core/thread_pool.h"
#include "kernels/dispatch.h"
#include "selftest.h"

#if defined(GENFAST_X86)

namespace genfast {

namespace amx_emulated {
void full_attention(const FullAttentionArgs&, Team&);
size_t full_attention_scratch_bytes(const FullAttentionArgs& sizes, int threads);
}  // namespace amx_emulated

namespace {

using Floats = std::vector<float>;

// Queries, keys and tile registers with and without any to spare; several blocks of keys.
constexpr int64_t kSizes[][3] = {{1, 1, 1},    {5, 7, 8},     {33, 31, 40},
                                 {64, 64, 33}, {40, 450, 64}, {20, 193, 160}};  // Tq, Tk, D

void near_the_reference(bool causal) {
    for (auto [Tq, Tk, D] : kSizes) {
        FullAttentionArgs a{};
        a.N = 1, a.Tq = Tq, a.Tk = Tk, a.H = 2, a.D = D;
        a.scale = 1 / std::sqrt(float(D));
        a.causal = causal;
        a.bfloat16 = true;
        const Floats q = noise(21, 1, Tq * 2 * D), k = noise(21, 2, Tk * 2 * D),
                     v = noise(21, 3, Tk * 2 * D);
        a.q = q.data(), a.k = k.data(), a.v = v.data();
        Floats want(q.size());
        a.out = want.data();
        Team alone;
        kernels_for("ref").full_attention(a, alone);
        for (int threads : {1, 2}) {
            ThreadPool& pool = shared_pool(threads);
            Floats got(q.size());
            a.out = got.data();
            const size_t bytes = amx_emulated::full_attention_scratch_bytes(a, pool.size()) + 64;
            std::vector<std::byte> scratch(bytes, std::byte(0xff));  // NaN where it is not packed
            void* start = scratch.data();
            size_t room = bytes;
            a.scratch = static_cast<std::byte*>(std::align(64, bytes - 64, start, room));
            const int64_t before = tile_registers().products();
            pool.run([&](Team& team) {
                amx_emulated::full_attention(a, team);
                expect(!tile_registers().in_use(), "no thread keeps its tile registers configured");
            });
            expect(threads > 1 || tile_registers().products() > before, "AMX attends");
            // Two factors of at most 1 rounded to 8 bits move a score, weight and value are
            // rounded once each.
            const double bound = std::ldexp(4 * std::sqrt(double(D)) + 4, -8);
            for (size_t i = 0; i < got.size(); ++i)
                if (!(std::abs(got[i] - want[i]) <= bound)) {
                    expect(false, cat("attention by AMX: Tq, Tk, D = ", Tq, ", ", Tk, ", ", D, ": ",
                                      got[i], " instead of ", want[i]));
                    break;
                }
        }
    }
}

}  // namespace

void amx_attention() {
    if (!cpu_features().avx2) return;  // amx_tiles tells
    for (bool causal : {false, true}) near_the_reference(causal);
}

}  // namespace genfast

#else

namespace genfast {
void amx_attention() {}
}  // namespace genfast

#endif

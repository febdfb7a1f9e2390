#include "core/cpu_flags.h"
#include "kernels/table.h"
#include "simd/vec.h"

namespace genfast::GENFAST_ISA {

#if defined(__AVX512F__)
double dot_bf16_chains(int64_t rounds);  // avx512_bf16.cc
#endif

// Enough independent chains to hide the latency of an instruction on two ports.
#if defined(__aarch64__)
constexpr int kChains = 6;  // of four registers each

double fma_chains(int64_t rounds);      // neon.cc
double mm_int8_chains(int64_t rounds);  // neon_i8mm.cc
#else
#if defined(__AVX512F__)
constexpr int kChains = 12;
#else
constexpr int kChains = 6;  // of two registers each: there are sixteen
#endif

static double fma_chains(int64_t rounds) {
    Vec acc[kChains], half = vset(0.5f);
    for (Vec& a : acc) a = vset(1.0f);
    for (int64_t i = 0; i < rounds; ++i)
        for (Vec& a : acc) a = vfma(a, half, half);
    Vec sum = vzero();
    for (Vec a : acc) sum = vadd(sum, a);
    return double(vsum(sum));
}
#endif

// Four byte products added to each of 16 sums, as matmul's int8 kernel does it on this machine.
GENFAST_INLINE VecI dot_bytes(VecI acc, VecI a, VecI b) {
#if defined(__AVX512VNNI__)
    return {_mm512_dpbusd_epi32(acc.v, a.v, b.v)};
#elif defined(__aarch64__)
    // By name: the compiler would see that all chains hold the same.
    for (int i = 0; i < 4; ++i)
        asm("sdot %0.4s, %1.16b, %2.16b" : "+w"(acc.q[i]) : "w"(a.q[i]), "w"(b.q[i]));
    return acc;
#else
    return iadd(iadd(acc, {_mm256_madd_epi16(a.lo, b.lo), _mm256_madd_epi16(a.hi, b.hi)}),
                {_mm256_madd_epi16(a.lo, b.hi), _mm256_madd_epi16(a.hi, b.lo)});
#endif
}

static double int8_chains(int64_t rounds) {
    VecI acc[kChains], one = iset(1);
    for (VecI& a : acc) a = izero();
    for (int64_t i = 0; i < rounds; ++i)
        for (VecI& a : acc) a = dot_bytes(a, one, one);
    Vec sum = vzero();
    for (VecI a : acc) sum = vadd(sum, vfromi(a));
    return double(vsum(sum));
}

static double read_sum(const std::byte* data, int64_t begin, int64_t end) {
    VecI sum[8];
    for (VecI& s : sum) s = izero();
    for (int64_t at = begin; at < end; at += 512)
        for (int i = 0; i < 8; ++i) sum[i] = iadd(sum[i], iload(data + at + i * 64));
    for (int i = 1; i < 8; ++i) sum[0] = iadd(sum[0], sum[i]);
    uint32_t lanes[kLanes], total = 0;
    istore(lanes, sum[0]);
    for (uint32_t lane : lanes) total += lane;
    return double(total);
}

void probe(const ProbeArgs& a, Team& team) {
    double per_round = 2.0 * kChains * kLanes, &result = a.result[team.index];
    switch (a.kind) {
        case ProbeKind::read: {
            Range mine = share(a.bytes, team, 1024);
            result = read_sum(a.data, mine.begin, mine.end);
            a.operations[team.index] = double(mine.end - mine.begin) / 4;
            return;
        }
        case ProbeKind::barrier:
            for (int64_t i = 0; i < a.rounds; ++i) team.sync();
            result = a.operations[team.index] = double(a.rounds);
            return;
        case ProbeKind::dot_bf16:
#if defined(__AVX512F__)
            if (cpu_has_avx512_bf16()) {
                result = dot_bf16_chains(a.rounds);
                a.operations[team.index] = 2 * per_round * double(a.rounds);
                return;
            }
#endif
            [[fallthrough]];  // without the instruction bf16 weights are widened: the peak is f32's
        case ProbeKind::fma_f32:
            result = fma_chains(a.rounds);
            break;
        case ProbeKind::dot_int8:
#if defined(__aarch64__)
            if (cpu_has_i8mm()) {
                result = mm_int8_chains(a.rounds);
                a.operations[team.index] = 8 * per_round * double(a.rounds);
                return;
            }
#endif
            result = int8_chains(a.rounds);
            per_round *= 4;
            break;
    }
    a.operations[team.index] = per_round * double(a.rounds);
}

}  // namespace genfast::GENFAST_ISA

#include "kernels/full_attention/operands.h"
#include "kernels/table.h"
#include "simd/math.h"

namespace genfast::GENFAST_ISA {
namespace {

constexpr float kLog2e = 1.44269504f;

// What sixteen queries have seen so far: the largest score, the sum of weights relative to it.
struct Seen {
    Vec largest = vset(-__builtin_inff()), sum = vzero();
};

constexpr int kHalves = kPanelRows / kLanes;  // of the queries: their chains run side by side

// Scores [keys][32], in powers of two, become weights: a panel, in their place.
struct Softmax {
    const FullAttentionArgs& a;
    const Factors& factors;
    const float* mask;  // of the block's first key, or null
    const float* bias;  // [keys][32], or null
    int64_t query, first, keys;

    // factor: what to multiply earlier weights with. degree: vexp2_within's, of weights.
    template <bool plain, int degree>
    GENFAST_MEMBER void weigh(float* scores, Seen* seen, Vec* factor) const {
        const Vec lowest = vset(-__builtin_inff()), base = vset(kLog2e), lanes = vfromi(iota(0));
        Vec largest[kHalves], sum[kHalves];
        for (int v = 0; v < kHalves; ++v) largest[v] = lowest, sum[v] = vzero();
        // Lanes below this do not see key s yet.
        auto unseen = [&](int64_t s, int v) GENFAST_MEMBER {
            const int64_t lane = a.causal ? first + s - query - v * kLanes : 0;
            return vset(float(lane < 0 ? 0 : lane));
        };
        for (int64_t s = 0; s < keys; ++s) {
            GENFAST_UNROLL
            for (int v = 0; v < kHalves; ++v) {
                float* at = scores + s * kPanelRows + v * kLanes;
                Vec x = vload(at);
                if (!plain) x = vselect_lt(lanes, unseen(s, v), vzero(), x);
                // NaN where a product is not finite, as exp2 hides it
                sum[v] = vfma(x, vzero(), sum[v]);
                if (!plain) {
                    if (bias) x = vfma(vload(bias + s * kPanelRows + v * kLanes), base, x);
                    if (mask) x = vfma(vset(mask[s]), base, x);
                    x = vselect_lt(lanes, unseen(s, v), lowest, x);
                    vstore(at, x);
                }
                largest[v] = vmax(x, largest[v]);
            }
        }
        for (int v = 0; v < kHalves; ++v) {
            largest[v] = vmax(largest[v], seen[v].largest);
            factor[v] = vexp2_down(vsub(seen[v].largest, largest[v]), -126);  // 2^0 is exactly 1
            seen[v].largest = largest[v];
        }
        auto weight = [&](int64_t s, int v) GENFAST_MEMBER {
            const Vec x = vload(scores + s * kPanelRows + v * kLanes);
            Vec e = vexp2_down<degree>(vsub(x, largest[v]), -126);
            if (!plain) e = vselect_lt(lanes, unseen(s, v), vzero(), e);
            sum[v] = vadd(sum[v], e);
            return e;
        };
        for (int64_t s = 0; s < keys; s += 2) {
            GENFAST_UNROLL
            for (int v = 0; v < kHalves; ++v) {
                const Vec one = weight(s, v), next = s + 1 < keys ? weight(s + 1, v) : vzero();
                factors.place(scores, s, v * kLanes, one, next);
            }
        }
        for (int v = 0; v < kHalves; ++v) seen[v].sum = vfma(seen[v].sum, factor[v], sum[v]);
    }
    GENFAST_MEMBER void operator()(float* scores, Seen* seen, Vec* factor) const {
        const bool plain = !(a.causal || bias || mask);
        if (a.bfloat16)
            plain ? weigh<true, 4>(scores, seen, factor) : weigh<false, 4>(scores, seen, factor);
        else
            plain ? weigh<true, 5>(scores, seen, factor) : weigh<false, 5>(scores, seen, factor);
    }
};

// Tiles of `rows` rows each by a panel. c [rows][32] of a tile is `step` floats from the last
// one's; done(tile) follows it.
template <class Done>
GENFAST_INLINE void multiply(const Tiles& kernels, int rows, int64_t tiles, size_t tile_bytes,
                             const float* panel, const std::byte* x, int64_t K, float* c,
                             int64_t step, Done done) {
    if (kernels.begin) kernels.begin(rows);
    for (int64_t t = 0; t < tiles; ++t, x += tile_bytes, c += step) {
        kernels.tile[rows](reinterpret_cast<const std::byte*>(panel), x, K, c);
        done(t);
    }
}

// Queries [first, first + 32) of head h of item n.
void attend(const FullAttentionArgs& a, const Operands& p, int64_t n, int64_t h, int64_t first,
            const std::byte* head, std::byte* own) {
    const int64_t E = a.H * a.D, D = p.factors.columns(a.D);
    const int64_t rows = a.Tq - first < kQueries ? a.Tq - first : kQueries;
    float* queries = reinterpret_cast<float*>(own + p.queries);
    float* scores = reinterpret_cast<float*>(own + p.scores);
    float* bias = a.bias ? reinterpret_cast<float*>(own + p.bias) : nullptr;
    float* sums = reinterpret_cast<float*>(own + p.sums);
    float* result = reinterpret_cast<float*>(own + p.result);
    const Tiles& kernels = *p.factors.kernels;

    to_lanes(a.q + (n * a.Tq + first) * E + h * a.D, E, rows, a.D, queries);
    for (int64_t i = 0; i < a.D * kPanelRows; i += kLanes)
        vstore(queries + i, vmul(vload(queries + i), vset(a.scale * kLog2e)));
    for (int64_t i = a.D * kPanelRows; i < D * kPanelRows; ++i) queries[i] = 0;
    p.factors.make_panel(queries, D);

    Seen seen[kHalves];
    for (int64_t block = 0; block < p.blocks; ++block) {
        const int64_t start = block * kKeys, visible = first + rows - start;
        if (a.causal && visible <= 0) break;
        int64_t keys = p.keys(a, block);
        if (a.causal && visible < keys) keys = visible;
        const std::byte* packed = head + p.block_bytes * size_t(block);
        const int64_t tiles = (keys + p.key_rows - 1) / p.key_rows;
        multiply(kernels, p.key_rows, tiles, p.key_tile, queries, packed, D, scores,
                 p.key_rows * kPanelRows, [](int64_t) {});

        if (bias)
            to_lanes(a.bias + ((a.bias_per_head ? h : 0) * a.Tq + first) * a.Tk + start, a.Tk, rows,
                     keys, bias);
        const float* mask = a.mask ? a.mask + n * a.Tk + start : nullptr;
        const Softmax softmax{a, p.factors, mask, bias, first, start, keys};
        Vec factor[kHalves];
        softmax(scores, seen, factor);
        const int64_t columns = p.factors.columns(keys);

        multiply(kernels, p.value_rows, p.value_tiles, p.value_tile, scores,
                 packed + p.key_tile * size_t(p.key_tiles), columns, sums, 0, [&](int64_t t) {
                     float* to = result + t * p.value_rows * kPanelRows;
                     for (int64_t i = 0; i < p.value_rows * kPanelRows; i += kPanelRows)
                         for (int v = 0; v < kHalves; ++v) {
                             const int64_t at = i + v * kLanes;
                             const Vec sum = vload(sums + at);
                             vstore(to + at, block ? vfma(vload(to + at), factor[v], sum) : sum);
                         }
                 });
    }
    for (int v = 0; v < kHalves; ++v) {
        const Vec share = vdiv(vset(1), seen[v].sum);
        for (int64_t d = 0; d < a.D; ++d) {
            float* at = result + d * kPanelRows + v * kLanes;
            vstore(at, vmul(vload(at), share));
        }
    }
    from_lanes(result, rows, a.D, a.out + (n * a.Tq + first) * E + h * a.D, E);
}

}  // namespace

void full_attention(const FullAttentionArgs& a, Team& team) {
    const Operands p(a, team.count);
    const int64_t heads = a.N * a.H, E = a.H * a.D;
    std::byte* own = a.scratch + p.head_bytes * size_t(heads) + p.thread_bytes * size_t(team.index);
    Range mine = share(heads * p.blocks, team);
    for (int64_t i = mine.begin; i < mine.end; ++i) {
        const int64_t head = i / p.blocks, at = head / a.H * a.Tk * E + head % a.H * a.D;
        pack_block(a, p, i % p.blocks, a.k + at, a.v + at, a.scratch + p.head_bytes * size_t(head),
                   own);
    }
    team.sync();
    const int64_t jobs = (a.Tq + kQueries - 1) / kQueries;
    team.each_job(heads * jobs, [&](int64_t job) {
        const int64_t head = job / jobs;
        attend(a, p, head / a.H, head % a.H, job % jobs * kQueries,
               a.scratch + p.head_bytes * size_t(head), own);
    });
    if (p.factors.kernels->end) p.factors.kernels->end();
}

size_t full_attention_scratch_bytes(const FullAttentionArgs& a, int threads) {
    return Operands(a, threads).bytes;
}

}  // namespace genfast::GENFAST_ISA

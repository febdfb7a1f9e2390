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

// Scores [keys][32], in powers of two, become weights, sixteen queries at a time.
struct Softmax {
    const FullAttentionArgs& a;
    const float* mask;  // of the block's first key, or null
    const float* bias;  // [keys][32], or null
    int64_t query, first, keys;

    // -> what to multiply earlier weights with, of the queries from lane v on.
    template <bool plain>
    GENFAST_MEMBER Vec weigh(float* scores, int v, Seen& seen) const {
        const Vec lowest = vset(-__builtin_inff()), base = vset(kLog2e), lanes = vfromi(iota(0));
        Vec largest = lowest, sum = vzero();
        // Lanes below this do not see key s yet.
        auto unseen = [&](int64_t s) GENFAST_MEMBER {
            const int64_t lane = a.causal ? first + s - query - v : 0;
            return vset(float(lane < 0 ? 0 : lane));
        };
        for (int64_t s = 0; s < keys; ++s) {
            float* at = scores + s * kPanelRows + v;
            Vec x = vload(at);
            if (!plain) x = vselect_lt(lanes, unseen(s), vzero(), x);
            sum = vfma(x, vzero(), sum);  // NaN where a product is not finite, as exp2 hides it
            if (!plain) {
                if (bias) x = vfma(vload(bias + s * kPanelRows + v), base, x);
                if (mask) x = vfma(vset(mask[s]), base, x);
                x = vselect_lt(lanes, unseen(s), lowest, x);
                vstore(at, x);
            }
            largest = vmax(x, largest);
        }
        const Vec before = seen.largest;
        seen.largest = vmax(largest, before);
        for (int64_t s = 0; s < keys; ++s) {
            float* at = scores + s * kPanelRows + v;
            Vec e = vexp2_down(vsub(vload(at), seen.largest), -126);
            if (!plain) e = vselect_lt(lanes, unseen(s), vzero(), e);
            vstore(at, e);
            sum = vadd(sum, e);
        }
        const Vec factor = vexp2_down(vsub(before, seen.largest), -126);  // 2^0 is exactly 1
        seen.sum = vfma(seen.sum, factor, sum);
        return factor;
    }
    GENFAST_MEMBER Vec operator()(float* scores, int v, Seen& seen) const {
        return a.causal || bias || mask ? weigh<false>(scores, v, seen)
                                        : weigh<true>(scores, v, seen);
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

    Seen seen[2];
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
        const Softmax softmax{a, mask, bias, first, start, keys};
        const Vec factor[2] = {softmax(scores, 0, seen[0]), softmax(scores, kLanes, seen[1])};
        const int64_t columns = p.factors.columns(keys);
        for (int64_t i = keys * kPanelRows; i < columns * kPanelRows; ++i) scores[i] = 0;
        p.factors.make_panel(scores, columns);

        multiply(kernels, p.value_rows, p.value_tiles, p.value_tile, scores,
                 packed + p.key_tile * size_t(p.key_tiles), columns, sums, 0, [&](int64_t t) {
                     float* to = result + t * p.value_rows * kPanelRows;
                     for (int64_t i = 0; i < p.value_rows * kPanelRows; i += kPanelRows)
                         for (int v = 0; v < 2; ++v) {
                             const int64_t at = i + v * kLanes;
                             const Vec sum = vload(sums + at);
                             vstore(to + at, block ? vfma(vload(to + at), factor[v], sum) : sum);
                         }
                 });
    }
    for (int v = 0; v < 2; ++v) {
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

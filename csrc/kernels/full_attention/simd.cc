#include "kernels/table.h"
#include "simd/math.h"

namespace genfast::GENFAST_ISA {
namespace {

constexpr float kLog2e = 1.44269504f;
constexpr int64_t kKeys = 512;  // a block: its scores stay near, and begin at absolute positions
#if defined(GENFAST_AMX)
constexpr int64_t kRows = 64;  // queries a job: whole tiles
#else
constexpr int64_t kRows = 48;
#endif

// Where things lie in scratch, in bytes from its start: packed keys and values of all heads, then
// of each thread what it works with. Values are packed block by block.
struct Layout {
    Format format;
    int64_t blocks;
    size_t head_bytes, key_bytes, value_bytes, thread_bytes;  // value_bytes: of a block
    size_t gathered, scores, result, pack, matmul;            // from a thread's start
    size_t bytes;
};

size_t aligned(int64_t bytes) {
    return (size_t(bytes) + 63) / 64 * 64;
}

int64_t block_keys(const FullAttentionArgs& a, int64_t block) {
    return a.Tk - block * kKeys < kKeys ? a.Tk - block * kKeys : kKeys;
}

Matrix panels(const Layout& l, int64_t N, int64_t K, const std::byte* data) {
    return {l.format, true, false, N, K, data};
}

size_t matrix_bytes(const Matrix& w) {
    return aligned(int64_t(panel_bytes(w.format, w.K)) * panel_count(w));
}

Layout layout_of(const FullAttentionArgs& a, int threads) {
    Layout l{};
    l.format = a.bfloat16 ? Format::bf16 : Format::f32;
    l.blocks = (a.Tk + kKeys - 1) / kKeys;
    const Matrix keys = panels(l, a.Tk, a.D, nullptr), values = panels(l, a.D, kKeys, nullptr);
    l.key_bytes = matrix_bytes(keys);
    l.value_bytes = matrix_bytes(values);
    l.head_bytes = l.key_bytes + l.value_bytes * size_t(l.blocks);
    const size_t packing = pack_scratch_bytes(kKeys > a.D ? kKeys : a.D);
    const size_t scores = matmul_scratch_bytes(panels(l, kKeys, a.D, nullptr), kRows, 1);
    const size_t weighted = matmul_scratch_bytes(values, kRows, 1);
    l.scores = aligned((a.Tk > kRows ? a.Tk : kRows) * a.D * 4);
    l.result = l.scores + aligned(kRows * kKeys * 4);
    l.pack = l.result + aligned(kRows * a.D * 4);
    l.matmul = l.pack + aligned(int64_t(packing));
    l.thread_bytes = l.matmul + aligned(int64_t(scores > weighted ? scores : weighted));
    l.bytes = l.head_bytes * size_t(a.N * a.H) + l.thread_bytes * size_t(threads);
    return l;
}

// Rows of a head, [rows, D] side by side, times `factor`.
void gather(const float* x, int64_t rows, int64_t E, int64_t D, float factor, float* out) {
    const Vec f = vset(factor);
    for (int64_t r = 0; r < rows; ++r)
        for (int64_t d = 0; d < D; d += kLanes) {
            const int n = int(D - d < kLanes ? D - d : kLanes);
            vstore_n(out + r * D + d, vmul(f, vload_n(x + r * E + d, n)), n);
        }
}

void pack_matrix(const float* x, Matrix w, bool transposed, std::byte* to, std::byte* scratch) {
    const WeightSource source{x, DType::f32, w.N, w.K, transposed};
    int64_t not_finite = kAllFinite;  // dense formats keep what is not finite
    Team alone;
    pack({&source, w, 0, panel_count(w), to, scratch, &not_finite}, alone);
}

void pack_keys(const FullAttentionArgs& a, const Layout& l, const float* k, std::byte* head,
               std::byte* own) {
    float* gathered = reinterpret_cast<float*>(own + l.gathered);
    gather(k, a.Tk, a.H * a.D, a.D, 1, gathered);
    pack_matrix(gathered, panels(l, a.Tk, a.D, nullptr), false, head, own + l.pack);
}

void pack_values(const FullAttentionArgs& a, const Layout& l, const float* v, std::byte* head,
                 std::byte* own) {
    float* gathered = reinterpret_cast<float*>(own + l.gathered);
    gather(v, a.Tk, a.H * a.D, a.D, 1, gathered);
    for (int64_t block = 0; block < l.blocks; ++block)
        pack_matrix(gathered + block * kKeys * a.D, panels(l, a.D, block_keys(a, block), nullptr),
                    true, head + l.key_bytes + l.value_bytes * size_t(block), own + l.pack);
}

// Whole vectors are neither loaded nor stored by a mask.
GENFAST_INLINE Vec load_some(const float* p, int n) {
    return n < kLanes ? vload_n(p, n) : vload(p);
}
GENFAST_INLINE void store_some(float* p, Vec x, int n) {
    if (n < kLanes)
        vstore_n(p, x, n);
    else
        vstore(p, x);
}

// fn(index, how many) over [0, n); the compiler knows where it is sixteen.
template <class Fn>
GENFAST_INLINE void each_vector(int64_t n, Fn fn) {
    int64_t i = 0;
    for (; i + kLanes <= n; i += kLanes) fn(i, kLanes);
    if (i < n) fn(i, int(n - i));
}

// What a query has seen so far: the largest score, the sum of weights relative to that.
struct Seen {
    float largest = -__builtin_inff(), sum = 0;
};

struct Softmax {
    const FullAttentionArgs& a;
    int64_t n, h;

    // Scores [keys] of query t and the keys from `first` on, in powers of two, become weights ->
    // what to multiply all earlier ones with. What the query may not see weighs nothing.
    GENFAST_MEMBER float operator()(int64_t t, int64_t first, int64_t keys, float* scores,
                                    Seen* seen) const {
        const int64_t last = a.causal ? t + 1 - first : keys;  // of the block's, that it sees
        const int64_t visible = last < 0 ? 0 : last < keys ? last : keys;
        const float* bias =
            a.bias ? a.bias + ((a.bias_per_head ? h : 0) * a.Tq + t) * a.Tk + first : nullptr;
        const float* mask = a.mask ? a.mask + n * a.Tk + first : nullptr;
        const Vec lowest = vset(-__builtin_inff()), base = vset(kLog2e);
        Vec largest = lowest, sums = vzero();
        each_vector(visible, [&](int64_t s, int some) GENFAST_MEMBER {
            Vec x = load_some(scores + s, some);
            sums = vfma(x, vzero(), sums);  // NaN where a product is not finite, as exp2 hides it
            if (bias) x = vfma(load_some(bias + s, some), base, x);
            if (mask) x = vfma(load_some(mask + s, some), base, x);
            if (bias || mask) store_some(scores + s, x, some);
            largest = vmax(some < kLanes ? vkeep_n(x, some, lowest) : x, largest);
        });
        const float block = vmaxall(largest), before = seen->largest;
        seen->largest = block > before ? block : before;
        const Vec max = vset(seen->largest);
        each_vector(visible, [&](int64_t s, int some) GENFAST_MEMBER {
            Vec e = vexp2_down(vsub(load_some(scores + s, some), max), -126);
            if (some < kLanes) e = vkeep_n(e, some, vzero());
            store_some(scores + s, e, some);
            sums = vadd(sums, e);
        });
        for (int64_t s = visible; s < keys; ++s) scores[s] = 0;
        alignas(64) float factors[kLanes];  // 2^0 is exactly 1
        vstore(factors, vexp2_down(vset(before - seen->largest), -126));
        seen->sum = __builtin_fmaf(seen->sum, factors[0], vsum(sums));
        return factors[0];
    }
};

void scale_row(float* row, int64_t D, float factor) {
    for (int64_t d = 0; d < D; d += kLanes) {
        const int some = int(D - d < kLanes ? D - d : kLanes);
        vstore_n(row + d, vmul(vload_n(row + d, some), vset(factor)), some);
    }
}

void attend(const FullAttentionArgs& a, const Layout& l, int64_t n, int64_t h, int64_t first,
            const std::byte* head, std::byte* own) {
    const int64_t E = a.H * a.D, rows = a.Tq - first < kRows ? a.Tq - first : kRows;
    float* queries = reinterpret_cast<float*>(own + l.gathered);
    float* scores = reinterpret_cast<float*>(own + l.scores);
    float* result = reinterpret_cast<float*>(own + l.result);
    gather(a.q + (n * a.Tq + first) * E + h * a.D, rows, E, a.D, a.scale * kLog2e, queries);
    Team alone;
    Seen seen[kRows];
    const Softmax softmax{a, n, h};
    for (int64_t block = 0; block < l.blocks; ++block) {
        const int64_t start = block * kKeys, count = block_keys(a, block);
        if (a.causal && start >= first + rows) break;
        const Matrix keys =
            panels(l, count, a.D, head + size_t(start / kPanelRows) * panel_bytes(l.format, a.D));
        const Matrix values =
            panels(l, a.D, count, head + l.key_bytes + l.value_bytes * size_t(block));
        matmul({queries, keys, nullptr, nullptr, scores, own + l.matmul, rows, Activation::none},
               alone);
        for (int64_t r = 0; r < rows; ++r) {
            const float before = softmax(first + r, start, count, scores + r * count, seen + r);
            if (block) scale_row(result + r * a.D, a.D, before);
        }
        matmul({scores, values, nullptr, block ? result : nullptr, result, own + l.matmul, rows,
                Activation::none},
               alone);
    }
    float* out = a.out + (n * a.Tq + first) * E + h * a.D;
    for (int64_t r = 0; r < rows; ++r) {
        scale_row(result + r * a.D, a.D, 1 / seen[r].sum);
        std::memcpy(out + r * E, result + r * a.D, size_t(a.D) * sizeof(float));
    }
}

}  // namespace

void full_attention(const FullAttentionArgs& a, Team& team) {
    const Layout l = layout_of(a, team.count);
    const int64_t heads = a.N * a.H, E = a.H * a.D;
    std::byte* own = a.scratch + l.head_bytes * size_t(heads) + l.thread_bytes * size_t(team.index);
    Range mine = share(2 * heads, team);
    for (int64_t i = mine.begin; i < mine.end; ++i) {
        const int64_t head = i / 2, at = head / a.H * a.Tk * E + head % a.H * a.D;
        std::byte* packed = a.scratch + l.head_bytes * size_t(head);
        if (i % 2 == 0)
            pack_keys(a, l, a.k + at, packed, own);
        else
            pack_values(a, l, a.v + at, packed, own);
    }
    team.sync();
    const int64_t blocks = (a.Tq + kRows - 1) / kRows;
    team.each_job(heads * blocks, [&](int64_t job) {
        const int64_t head = job / blocks;
        attend(a, l, head / a.H, head % a.H, job % blocks * kRows,
               a.scratch + l.head_bytes * size_t(head), own);
    });
}

size_t full_attention_scratch_bytes(const FullAttentionArgs& a, int threads) {
    return layout_of(a, threads).bytes;
}

}  // namespace genfast::GENFAST_ISA

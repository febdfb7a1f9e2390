#include "kernels/table.h"
#include "simd/math.h"

namespace genfast::GENFAST_ISA {
namespace {

constexpr float kLog2e = 1.44269504f;
constexpr int64_t kRows = 48;  // queries a job: their scores stay in L2 for thousands of keys

// Where things lie in scratch, in bytes from its start: packed keys and values of all heads, then
// of each thread what it works with.
struct Layout {
    Matrix keys, values;  // without data
    size_t head_bytes, key_bytes, thread_bytes;
    size_t gathered, scores, result, pack, matmul;  // from a thread's start
    size_t bytes;
};

size_t aligned(int64_t bytes) {
    return (size_t(bytes) + 63) / 64 * 64;
}

size_t matrix_bytes(const Matrix& w) {
    return aligned(int64_t(panel_bytes(w.format, w.K)) * panel_count(w));
}

Layout layout_of(const FullAttentionArgs& a, int threads) {
    const Format format = a.bfloat16 ? Format::bf16 : Format::f32;
    Layout l{};
    l.keys = {format, true, false, a.Tk, a.D, nullptr};
    l.values = {format, true, false, a.D, a.Tk, nullptr};
    l.key_bytes = matrix_bytes(l.keys);
    l.head_bytes = l.key_bytes + matrix_bytes(l.values);
    const int64_t longest = a.Tk > kRows ? a.Tk : kRows;
    const size_t packing = pack_scratch_bytes(a.Tk > a.D ? a.Tk : a.D);
    const size_t scores = matmul_scratch_bytes(l.keys, kRows, 1);
    const size_t weighted = matmul_scratch_bytes(l.values, kRows, 1);
    l.scores = aligned(longest * a.D * 4);
    l.result = l.scores + aligned(kRows * a.Tk * 4);
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

void pack_head(const FullAttentionArgs& a, const Layout& l, const float* x, Matrix w,
               bool transposed, std::byte* panels, std::byte* own) {
    float* gathered = reinterpret_cast<float*>(own + l.gathered);
    gather(x, a.Tk, a.H * a.D, a.D, 1, gathered);
    const WeightSource source{gathered, DType::f32, w.N, w.K, transposed};
    int64_t not_finite = kAllFinite;  // dense formats keep what is not finite
    Team alone;
    pack({&source, w, 0, panel_count(w), panels, own + l.pack, &not_finite}, alone);
}

struct Softmax {
    const FullAttentionArgs& a;
    int64_t n, h;

    // Scores [Tk] of query t, in powers of two, become weights -> their sum. All that the query may
    // not see weighs nothing.
    GENFAST_MEMBER float operator()(int64_t t, float* scores) const {
        const int64_t seen = a.causal && t + 1 < a.Tk ? t + 1 : a.Tk;
        const float* bias =
            a.bias ? a.bias + ((a.bias_per_head ? h : 0) * a.Tq + t) * a.Tk : nullptr;
        const float* mask = a.mask ? a.mask + n * a.Tk : nullptr;
        const Vec lowest = vset(-__builtin_inff()), base = vset(kLog2e);
        Vec largest = lowest, sums = vzero();
        for (int64_t s = 0; s < seen; s += kLanes) {
            const int some = int(seen - s < kLanes ? seen - s : kLanes);
            Vec x = vload_n(scores + s, some);
            sums = vfma(x, vzero(), sums);  // NaN where a product is not finite, as exp2 hides it
            if (bias) x = vfma(vload_n(bias + s, some), base, x);
            if (mask) x = vfma(vload_n(mask + s, some), base, x);
            if (bias || mask) vstore_n(scores + s, x, some);
            largest = vmax(vkeep_n(x, some, lowest), largest);
        }
        const Vec max = vset(vmaxall(largest));
        for (int64_t s = 0; s < a.Tk; s += kLanes) {
            const int some = int(a.Tk - s < kLanes ? a.Tk - s : kLanes);
            const int visible = seen - s >= some ? some : seen > s ? int(seen - s) : 0;
            Vec e = vexp2_down(vsub(vload_n(scores + s, some), max), -126);
            if (visible < kLanes) e = vkeep_n(e, visible, vzero());
            vstore_n(scores + s, e, some);
            sums = vadd(sums, e);
        }
        return vsum(sums);
    }
};

void attend(const FullAttentionArgs& a, const Layout& l, int64_t n, int64_t h, int64_t first,
            const std::byte* head, std::byte* own) {
    const int64_t E = a.H * a.D, rows = a.Tq - first < kRows ? a.Tq - first : kRows;
    float* queries = reinterpret_cast<float*>(own + l.gathered);
    float* scores = reinterpret_cast<float*>(own + l.scores);
    float* result = reinterpret_cast<float*>(own + l.result);
    Matrix keys = l.keys, values = l.values;
    keys.data = head;
    values.data = head + l.key_bytes;
    gather(a.q + (n * a.Tq + first) * E + h * a.D, rows, E, a.D, a.scale * kLog2e, queries);
    Team alone;
    matmul({queries, keys, nullptr, nullptr, scores, own + l.matmul, rows, Activation::none},
           alone);
    const Softmax softmax{a, n, h};
    float sums[kRows];
    for (int64_t r = 0; r < rows; ++r) sums[r] = softmax(first + r, scores + r * a.Tk);
    matmul({scores, values, nullptr, nullptr, result, own + l.matmul, rows, Activation::none},
           alone);
    float* out = a.out + (n * a.Tq + first) * E + h * a.D;
    for (int64_t r = 0; r < rows; ++r)
        for (int64_t d = 0; d < a.D; d += kLanes) {
            const int some = int(a.D - d < kLanes ? a.D - d : kLanes);
            const Vec weighted = vload_n(result + r * a.D + d, some);
            vstore_n(out + r * E + d, vmul(weighted, vset(1 / sums[r])), some);
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
        std::byte* panels = a.scratch + l.head_bytes * size_t(head);
        if (i % 2 == 0)
            pack_head(a, l, a.k + at, l.keys, false, panels, own);
        else
            pack_head(a, l, a.v + at, l.values, true, panels + l.key_bytes, own);
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

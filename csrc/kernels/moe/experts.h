// The loop of moe over the experts, on a namespace's own matmul. No STL: per-ISA sources include
// it.
#pragma once

#include <cstring>

#include "kernels/table.h"

namespace genfast::GENFAST_ISA {

// Experts that one token visits, which go together: nobody waits for anybody between them.
constexpr int64_t kWave = 16;

// Where things lie in scratch, in bytes from its start.
struct MoeScratch {
    size_t first, rows, weights, gathered, hidden, result, matmul;
};

static inline size_t moe_aligned(int64_t bytes) {
    return (size_t(bytes) + 63) / 64 * 64;
}

static inline MoeScratch moe_layout(const MoeArgs& a) {
    const Matrix &up = a.matrices[0], &down = a.matrices[1];
    const int64_t routes = a.T * a.k;
    MoeScratch s;
    s.first = 0;  // of each expert's routes; one more
    s.rows = s.first + moe_aligned((a.experts + 1) * 4);
    s.weights = s.rows + moe_aligned(routes * 4);
    s.gathered = s.weights + moe_aligned(routes * 4);
    const int64_t wave = routes < kWave ? routes : kWave, held = a.T > wave ? a.T : wave;
    s.hidden = s.gathered + moe_aligned(a.T * up.K * 4);
    s.result = s.hidden + moe_aligned(held * down.K * 4);
    s.matmul = s.result + moe_aligned(held * up.K * 4);
    return s;
}

static inline size_t scratch_bytes(const MoeArgs& a, int threads) {
    const size_t up = matmul_scratch_bytes(a.matrices[0], a.T, threads);
    const size_t down = matmul_scratch_bytes(a.matrices[1], a.T, threads);
    return moe_layout(a).matmul + (up > down ? up : down);
}

// Sorts the routes by expert; within one, tokens ascend.
static inline void sort_routes(const MoeArgs& a, int32_t* first, int32_t* rows, float* weights) {
    for (int64_t e = 0; e <= a.experts; ++e) first[e] = 0;
    for (int64_t t = 0; t < a.T; ++t)
        for (int64_t i = 0; i < a.k; ++i) ++first[int64_t(a.routes[t * 2 * a.k + i]) + 1];
    for (int64_t e = 0; e < a.experts; ++e) first[e + 1] += first[e];
    // Fills from each expert's start, which moves on, and moves back at the end.
    for (int64_t t = 0; t < a.T; ++t)
        for (int64_t i = 0; i < a.k; ++i) {
            const float* route = a.routes + t * 2 * a.k + i;
            const int32_t at = first[int64_t(*route)]++;
            rows[at] = int32_t(t);
            weights[at] = route[a.k];
        }
    for (int64_t e = a.experts; e > 0; --e) first[e] = first[e - 1];
    first[0] = 0;
}

// The routes, sorted by expert, and memory for what comes between.
struct MoeStep {
    const MoeArgs& a;
    int32_t *first, *rows;  // of each expert's routes, and one more; of each route, its token
    float *weights, *gathered, *hidden, *result;
    std::byte* scratch;

    explicit MoeStep(const MoeArgs& a) : a(a) {
        const MoeScratch s = moe_layout(a);
        first = reinterpret_cast<int32_t*>(a.scratch + s.first);
        rows = reinterpret_cast<int32_t*>(a.scratch + s.rows);
        weights = reinterpret_cast<float*>(a.scratch + s.weights);
        gathered = reinterpret_cast<float*>(a.scratch + s.gathered);
        hidden = reinterpret_cast<float*>(a.scratch + s.hidden);
        result = reinterpret_cast<float*>(a.scratch + s.result);
        scratch = a.scratch + s.matmul;
    }
    int64_t tokens(int64_t e) const { return first[e + 1] - first[e]; }
};

// Expert e on all of its tokens. add(to, from, weight, n): to += weight * from
template <class Add>
static inline void run_expert(const MoeStep& s, int64_t e, Team& team, Add add) {
    const MoeArgs& a = s.a;
    const int64_t E = a.matrices[0].K, M = s.tokens(e);
    const int32_t* own = s.rows + s.first[e];
    const float* x = a.x;  // all of them, in order
    if (M < a.T) {
        Range part = share(M, team);
        for (int64_t m = part.begin; m < part.end; ++m)
            std::memcpy(s.gathered + m * E, a.x + own[m] * E, size_t(E) * sizeof(float));
        team.sync();
        x = s.gathered;
    }
    matmul(up_product(a, e, x, M, s.hidden, s.scratch), team);
    team.sync();
    matmul(down_product(a, e, s.hidden, M, s.result, s.scratch), team);
    team.sync();
    Range columns = share(E, team, 16);
    for (int64_t m = 0; m < M; ++m)
        add(a.out + own[m] * E + columns.begin, s.result + m * E + columns.begin,
            s.weights[s.first[e] + m], columns.end - columns.begin);
}

// Experts of one token each. A matmul of one row waits for nobody.
template <class Add>
static inline void run_wave(const MoeStep& s, const int64_t* experts, int64_t count, Team& team,
                            Add add) {
    const MoeArgs& a = s.a;
    const int64_t E = a.matrices[0].K, F = a.matrices[1].K;
    for (int64_t i = 0; i < count; ++i) {
        const float* x = a.x + s.rows[s.first[experts[i]]] * E;
        matmul(up_product(a, experts[i], x, 1, s.hidden + i * F, s.scratch), team);
    }
    team.sync();
    for (int64_t i = 0; i < count; ++i)
        matmul(down_product(a, experts[i], s.hidden + i * F, 1, s.result + i * E, s.scratch), team);
    team.sync();
    Range columns = share(E, team, 16);
    for (int64_t i = 0; i < count; ++i) {
        const int64_t route = s.first[experts[i]];
        add(a.out + s.rows[route] * E + columns.begin, s.result + i * E + columns.begin,
            s.weights[route], columns.end - columns.begin);
    }
}

template <class Add>
static inline void run_experts(const MoeArgs& a, Team& team, Add add) {
    const MoeStep s(a);
    if (team.index == 0) sort_routes(a, s.first, s.rows, s.weights);
    Range mine = share(a.T * a.matrices[0].K, team, 16);
    const size_t bytes = size_t(mine.end - mine.begin) * sizeof(float);
    if (!a.residual)
        std::memset(a.out + mine.begin, 0, bytes);
    else if (a.residual != a.out)
        std::memcpy(a.out + mine.begin, a.residual + mine.begin, bytes);
    team.sync();

    for (int64_t e = 0; e < a.experts;) {
        int64_t wave[kWave], count = 0;
        for (; e < a.experts && count < kWave && s.tokens(e) <= 1; ++e)
            if (s.tokens(e) == 1) wave[count++] = e;
        if (count > 0) run_wave(s, wave, count, team, add);
        if (e < a.experts && s.tokens(e) > 1) run_expert(s, e++, team, add);
    }
}

}  // namespace genfast::GENFAST_ISA

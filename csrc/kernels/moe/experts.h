// The loop of moe over the experts, on a namespace's own matmul. No STL: per-ISA sources include
// it.
#pragma once

#include <cstring>

#include "kernels/table.h"

namespace genfast::GENFAST_ISA {

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
    s.hidden = s.gathered + moe_aligned(a.T * up.K * 4);
    s.result = s.hidden + moe_aligned(a.T * down.K * 4);
    s.matmul = s.result + moe_aligned(a.T * up.K * 4);
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

// add(to, from, weight, n): to += weight * from
template <class Add>
static inline void run_experts(const MoeArgs& a, Team& team, Add add) {
    const int64_t E = a.matrices[0].K;
    const MoeScratch s = moe_layout(a);
    int32_t* first = reinterpret_cast<int32_t*>(a.scratch + s.first);
    int32_t* rows = reinterpret_cast<int32_t*>(a.scratch + s.rows);
    float* weights = reinterpret_cast<float*>(a.scratch + s.weights);
    float* gathered = reinterpret_cast<float*>(a.scratch + s.gathered);
    float* hidden = reinterpret_cast<float*>(a.scratch + s.hidden);
    float* result = reinterpret_cast<float*>(a.scratch + s.result);

    if (team.index == 0) sort_routes(a, first, rows, weights);
    Range mine = share(a.T * E, team, 16);
    const size_t bytes = size_t(mine.end - mine.begin) * sizeof(float);
    if (!a.residual)
        std::memset(a.out + mine.begin, 0, bytes);
    else if (a.residual != a.out)
        std::memcpy(a.out + mine.begin, a.residual + mine.begin, bytes);
    team.sync();

    for (int64_t e = 0; e < a.experts; ++e) {
        const int64_t M = first[e + 1] - first[e];
        if (M == 0) continue;
        const int32_t* own = rows + first[e];
        const float* x = a.x;  // all of them, in order
        if (M < a.T) {
            Range part = share(M, team);
            for (int64_t m = part.begin; m < part.end; ++m)
                std::memcpy(gathered + m * E, a.x + own[m] * E, size_t(E) * sizeof(float));
            team.sync();
            x = gathered;
        }
        matmul(up_product(a, e, x, M, hidden, a.scratch + s.matmul), team);
        team.sync();
        matmul(down_product(a, e, hidden, M, result, a.scratch + s.matmul), team);
        team.sync();
        Range columns = share(E, team, 16);
        for (int64_t m = 0; m < M; ++m)
            add(a.out + own[m] * E + columns.begin, result + m * E + columns.begin,
                weights[first[e] + m], columns.end - columns.begin);
    }
}

}  // namespace genfast::GENFAST_ISA

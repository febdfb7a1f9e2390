// One block's softmax, and how blocks are put together.
//
// Records are what rows know of some keys: the weighted values o[Ds], the maximum m (in log2 units)
// and the sum of weights l, all relative to 2^m. A row that has seen no key has o = 0, m = -inf, l
// = 0.
#pragma once

#include "kernels/attention/product.h"
#include "simd/math.h"

namespace genfast::GENFAST_ISA {

struct Records {
    float *o, *m, *l;  // [rows][Ds], [rows], [rows]

    GENFAST_MEMBER Records from(int64_t row, int64_t Ds) const {
        return {o + row * Ds, m + row, l + row};
    }
};

GENFAST_INLINE Records records_at(float* memory, int64_t rows, int64_t Ds) {
    return {memory, memory + rows * Ds, memory + rows * (Ds + 1)};
}
// Rows are counted in sixteens, which keeps everything after them aligned.
static inline int64_t record_floats(int64_t rows, int64_t Ds) {
    return rows * (Ds + 2);
}

constexpr float kMinusInfinity = -__builtin_inff();

// 2^x for x <= 0; 2^0 is exactly 1, NaN stays one. What lies 80 doublings below the maximum counts
// as 80 below: too little to show in a float, but not so little that products with it become
// denormal numbers, which cost hundreds of cycles each.
template <int degree>
GENFAST_INLINE Vec vexp2(Vec x) {
    return vexp2_within<degree>(vmax(vset(-80.0f), x));
}

// Rows of scores of one block, all with the same visible tokens [begin, end). The sixteen at an end
// that are not all seen are masked; the whole ones between need no care.
struct ScoreRows {
    float* s;  // [rows][kScoreStride]
    int begin, end;
    const float *key_scales, *value_scales;  // [512] each, or null

    GENFAST_MEMBER Vec masked(Vec x, int t, Vec fill) const {
        if (end < t + kLanes) x = vkeep_n(x, end - t, fill);
        if (begin > t) x = vkeep_n(fill, begin - t, x);
        return x;
    }
};

// With an int8 cache weights stay floats until their row's largest is known (attend_int8.h).
struct Fixed : Float32 {
    static constexpr int kExpDegree = 4;
};
// Scores and weights are multiplied by the scales of their tokens.
template <class Source>
constexpr bool kScaled = __is_same(Source, Fixed) || __is_same(Source, Float8);

template <class Source>
GENFAST_INLINE Vec scaled_score(const ScoreRows& a, float* s, int t) {
    Vec x = vload(s + t);
    if (kScaled<Source>) {
        x = vmul(x, vload(a.key_scales + t));
        vstore(s + t, x);
    }
    return x;
}

// Scores of the tokens [begin, end) become weights as Source stores them, in place; with scales,
// weights times the value scales, whose maximum is put into `peak`. Sums run over sixteen lanes in
// ascending tokens, then over the lanes: an order that depends on a token's place in its block
// alone. R rows go side by side, which hides the latency of the long chains in exp2 and in the
// sums.
template <int R, class Source>
GENFAST_NOINLINE void softmax_rows(const ScoreRows& a, float factor, float* m, float* l,
                                   float* peak) {
    int first = int(round_up(a.begin, kLanes)), last = a.end / kLanes * kLanes;
    bool head = a.begin < first, tail = last < a.end && last >= first;
    Vec lowest = vset(kMinusInfinity), f = vset(factor), largest[R], minus[R], sum[R], most[R];

#pragma GCC unroll 4
    for (int r = 0; r < R; ++r) {
        float* s = a.s + r * kScoreStride;
        largest[r] = lowest;
        if (head) {
            int t = first - kLanes;
            largest[r] = a.masked(scaled_score<Source>(a, s, t), t, lowest);
        }
        if (tail) {
            Vec x = a.masked(scaled_score<Source>(a, s, last), last, lowest);
            largest[r] = vmax(largest[r], x);
        }
    }
    for (int t = first; t < last; t += kLanes)
#pragma GCC unroll 4
        for (int r = 0; r < R; ++r)
            largest[r] = vmax(largest[r], scaled_score<Source>(a, a.s + r * kScoreStride, t));

    // p = 2^(s * factor - m): with m rounded before it is subtracted, no error remains, because all
    // that follows (sum, merging) refers to this m.
#pragma GCC unroll 4
    for (int r = 0; r < R; ++r) {
        m[r] = factor * vmaxall(largest[r]);
        minus[r] = vset(-m[r]);
        sum[r] = most[r] = vzero();
    }
    auto weigh = [&](int r, int t, bool ragged) __attribute__((always_inline)) {
        float* s = a.s + r * kScoreStride;
        Vec p = vexp2<Source::kExpDegree>(vfma(vload(s + t), f, minus[r]));
        if (ragged) p = a.masked(p, t, vzero());
        sum[r] = vadd(sum[r], p);
        if (kScaled<Source>) {
            p = vmul(p, vload(a.value_scales + t));
            if (ragged) p = a.masked(p, t, vzero());
            most[r] = vmax(most[r], p);
            vstore(s + t, p);
        } else {
            Source::store_weights(s, t, p);
        }
    };
    if (head)
        for (int r = 0; r < R; ++r) weigh(r, first - kLanes, true);
    for (int t = first; t < last; t += kLanes)
#pragma GCC unroll 4
        for (int r = 0; r < R; ++r) weigh(r, t, false);
#pragma GCC unroll 4
    for (int r = 0; r < R; ++r) {
        if (tail) weigh(r, last, true);
        l[r] = vsum(sum[r]);
        if (kScaled<Source>) peak[r] = vmaxall(most[r]);
    }
}

// to <- to and, after it, block, for at most sixteen rows. Always called in ascending order of
// blocks; rows that see nothing of a block are left as they are.
static inline void merge(const Records& to, const Records& block, int rows, int64_t Ds) {
    Vec mine = vload_n(to.m, rows), theirs = vload_n(block.m, rows), top = vmax(mine, theirs);
    float old_factor[kLanes], new_factor[kLanes], tops[kLanes];
    vstore(old_factor, vexp2<5>(vsub(mine, top)));
    vstore(new_factor, vexp2<5>(vsub(theirs, top)));
    vstore(tops, top);
    for (int r = 0; r < rows; ++r) {
        if (block.l[r] == 0) continue;
        Vec a = vset(old_factor[r]), b = vset(new_factor[r]);
        float *o = to.o + r * Ds, *from = block.o + r * Ds;
        for (int64_t d = 0; d < Ds; d += kLanes)
            vstore(o + d, vfma(vload(o + d), a, vmul(vload(from + d), b)));
        to.l[r] = __builtin_fmaf(to.l[r], old_factor[r], block.l[r] * new_factor[r]);
        to.m[r] = tops[r];
    }
}

}  // namespace genfast::GENFAST_ISA

// The many largest logits, brought together in the order of their ids.
#pragma once

#include "kernels/sample/search.h"

namespace genfast::GENFAST_ISA {

constexpr int32_t kAnyId = 0x7fffffff;

struct Logits {
    const float* value;
    int64_t n;
    const float* maxima;  // of blocks, and of all (topk.h)
    float max;
    const int32_t* ids;  // of tokens; null: value[i] is that of token i
};

// Where the k-th largest lies; where there are fewer above -infinity, below all of them.
static Place last_of_top_k(const Row& row, float max, int64_t k) {
    auto reached = [&](double count) { return count >= double(k); };
    float next = key_value(order_key(max) + 1);
    int64_t count;
    if (row.sample_size >= kEnough) {
        double share = double(k) / double(row.n);
        Interval guess = guess_place<Measure::count>(row, share, -__FLT_MAX__, next);
        Known above = {guess.high, 0};
        above.mass = gather_near<Measure::count>(row, guess.low, guess.high, &count);
        if (!reached(above.mass) && reached(above.mass + double(count)))
            return place_near<Measure::count>(row, count, guess.low, above, reached);
    }
    Threshold t = threshold_for(row.value, row.n, max, k, k);
    if (!t.exact) return {t.value, kAnyId, double(k)};
    Known above = {key_value(order_key(t.value) + 1), 0};
    above.mass = gather_near<Measure::count>(row, t.value, above.value, &count);
    return place_near<Measure::count>(row, count, t.value, above, reached);
}

// Copies the logits up to `last` and their ids; room for n + kLanes each. Returns how many.
static inline int64_t copy_up_to(const Row& row, Place last, float* values, int32_t* ids) {
    Vec limit = vset(last.value);
    int64_t count = 0;
    for (int64_t block = 0; block < row.blocks; ++block) {
        if (!(row.maxima[block] >= last.value)) continue;
        Vec block_values[kMaxBlock / kLanes];
        row.load(block, block_values);
        int64_t i = block * kMaxBlock;
        for (Vec v : block_values) {
            uint32_t mask = vmask_ge(v, limit), larger = vmask_gt(v, limit);
            if (mask != larger && last.id < i + kLanes - 1)  // not all of those that tie
                mask = larger | (last.id < i ? 0 : mask & ((2u << (last.id - i)) - 1));
            vcompress(values + count, v, mask);
            icompress(ids + count, iota(int32_t(i)), mask);
            count += __builtin_popcount(mask);
            i += kLanes;
        }
    }
    return count;
}

}  // namespace genfast::GENFAST_ISA

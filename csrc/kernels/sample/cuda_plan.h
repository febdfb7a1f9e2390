// From the masses of the bins to those whose tokens decide.
#pragma once

#include "kernels/sample/cuda_row.h"

namespace genfast::cuda {

struct Reached {
    int32_t bin;
    uint64_t before;
};

// Cumulated masses, by all threads of a block of kThreads.
class BinSums {
  public:
    __device__ explicit BinSums(const unsigned long long* bins) : bins_(bins) {
        __shared__ uint64_t sums[kThreads];
        for (int i = 0; i < kOwn; ++i) mine_ += bins[first() + i];
        sums[threadIdx.x] = mine_;
        __syncthreads();
        for (int t = 0; t < kThreads; ++t) {
            if (t < int(threadIdx.x)) before_ += sums[t];
            total_ += sums[t];
        }
        __syncthreads();
    }
    __device__ uint64_t total() const { return total_; }

    // The first bin with which the mass reaches 1 <= target <= total.
    __device__ Reached reach(uint64_t target) const {
        return find(
            [&](int, uint64_t before, uint64_t upto) { return before < target && target <= upto; });
    }
    __device__ Reached at(int bin) const {
        return find([&](int here, uint64_t, uint64_t) { return here == bin; });
    }

  private:
    static constexpr int kOwn = kBins / kThreads;
    __device__ static int first() { return int(threadIdx.x) * kOwn; }

    template <class Test>
    __device__ Reached find(Test test) const {
        __shared__ Reached found;
        uint64_t before = before_;
        for (int i = 0; i < kOwn; ++i) {
            const uint64_t upto = before + bins_[first() + i];
            if (test(first() + i, before, upto)) found = {first() + i, before};
            before = upto;
        }
        __syncthreads();
        const Reached answer = found;
        __syncthreads();
        return answer;
    }

    const unsigned long long* bins_;
    uint64_t mine_ = 0, before_ = 0, total_ = 0;
};

__device__ inline Plan plan_top_k(const BinSums& sums, uint64_t k) {
    Plan plan{};
    plan.to = sums.reach(k < sums.total() ? k : sums.total()).bin;
    plan.limit = kBins;
    return plan;
}

// What top_p and min_p keep ends in the bin `limit`. How much that is, is known but for this bin's
// tokens; so the draw ends between two bins.
__device__ inline Plan plan_many(const BinSums& sums, const RowDraw& how, const Ruler& ruler,
                                 const unsigned long long* bins) {
    Plan plan{};
    plan.total = plan.before_limit = sums.total();
    plan.limit = plan.reached = kBins;
    if (how.top_p < 1) {
        plan.wanted = beyond(how.top_p, plan.total);
        const Reached reached = sums.reach(plan.wanted);
        plan.reached = plan.limit = reached.bin;
        plan.before_reached = plan.before_limit = reached.before;
    }
    if (how.min_p > 0 && ruler.bin_of(how.min_p) < plan.limit) {
        plan.limit = ruler.bin_of(how.min_p);
        plan.before_limit = sums.at(plan.limit).before;
    }
    const uint64_t least = plan.before_limit > 0 ? plan.before_limit : 1;
    const uint64_t most = plan.before_limit + (plan.limit < kBins ? bins[plan.limit] : 0);
    const Reached from = sums.reach(beyond(how.draw, least));
    plan.from = from.bin;
    plan.before_from = from.before;
    plan.to = sums.reach(beyond(how.draw, most)).bin;
    return plan;
}

}  // namespace genfast::cuda

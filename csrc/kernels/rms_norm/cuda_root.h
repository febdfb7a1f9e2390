// A group of rms_norm, by a block.
#pragma once

#include "cuda/norm_groups.h"
#include "kernels/rms_norm/rms_norm.h"

namespace genfast::cuda {

// Number e of it is normed(e).
class RootNorm {
  public:
    __device__ explicit RootNorm(const RmsNormArgs& a) : group(a), a_(a) {
        float squares = 0;
        for (int64_t e = threadIdx.x; e < a.E; e += kThreads)
            squares = fmaf(group.x[e], group.x[e], squares);
        factor_ = 1 / sqrtf(block_sum(squares) / float(a.E) + a.eps);
    }
    __device__ float operator()(int64_t e) const {
        const float y = group.x[e] * factor_ * a_.weight[group.at + e];
        return a_.residual ? y + a_.residual[group.t * a_.E + e] : y;
    }
    __device__ void write() const {
        for (int64_t e = threadIdx.x; e < a_.E; e += kThreads) group.out[e] = (*this)(e);
    }

    const NormGroup group;

  private:
    const RmsNormArgs& a_;
    float factor_;
};

}  // namespace genfast::cuda

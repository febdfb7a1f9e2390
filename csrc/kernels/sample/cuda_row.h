// What blocks find out about a row of logits, part by part, and how they count its tokens by bins.
//
// Weights are the CPU's floats, bit by bit, as integers of 2^-44: sums are exact in any order.
#pragma once

#include "core/digest.h"
#include "cuda/launch.h"
#include "kernels/sample/draw_rows.h"
#include "simd/math.h"
#include "simd/order.h"

namespace genfast::cuda {

constexpr int kBins = 2048;
constexpr int kListed = 1536;  // more than kFew: what is to be looked at may be more than that
constexpr int64_t kMostParts = kMostDrawn / kDigestPart;
constexpr float kUnits = 0x1p44f;  // kMostDrawn of them fit into 64 bits

struct Part {
    uint64_t largest;  // candidate, 0: none
    float sum, count;  // of its finite logits
};

// Bins and masses from the largest token on. Tokens of the bins `from` to `to` and of `limit`
// (kBins: there is none) are listed.
struct Plan {
    int32_t from, to, limit;
    int32_t reached;  // by top_p
    uint64_t before_from, before_limit, before_reached, total, wanted;
};

struct RowState {
    Plan plan;
    unsigned listed;  // more than kListed: they are not all in the list
    unsigned long long bins[kBins];
    uint64_t list[kListed];
    Part parts[kMostParts];
    uint64_t digests[kMostParts];  // of the parts
    double sums[kMostParts][2];    // of the parts, where logprobs are told (cuda_tell.h)
};

// Of a value of each of the block's threads, in an order of their own; all get the result.
template <int threads, class T, class Join>
__device__ T over_threads(T mine, Join join) {
    __shared__ T room[threads];
    room[threadIdx.x] = mine;
    __syncthreads();
    if (threadIdx.x < kWarp)
        for (int i = kWarp; i < threads; i += kWarp)
            room[threadIdx.x] = join(room[threadIdx.x], room[threadIdx.x + i]);
    __syncthreads();
    T all = room[0];
    for (int i = 1; i < kWarp; ++i) all = join(all, room[i]);
    __syncthreads();
    return all;
}

struct RowSize {
    int64_t V;
    __host__ __device__ int64_t parts() const { return (V + kDigestPart - 1) / kDigestPart; }
    __device__ int64_t numbers(int64_t part) const {
        const int64_t left = V - part * kDigestPart;
        return left < kDigestPart ? left : kDigestPart;
    }
};

struct Summary {
    uint64_t largest;
    float max, mean;
    // Whether anything else than the largest can be drawn.
    __device__ bool certain() const { return largest == 0 || max == INFINITY; }
};

// By all threads, in the order of the parts.
__device__ inline Summary summarise(const Part* parts, int64_t count) {
    __shared__ uint64_t largest[kMostParts];
    __shared__ float sum[kMostParts], finite[kMostParts];
    for (int64_t i = threadIdx.x; i < count; i += blockDim.x) {
        largest[i] = parts[i].largest;
        sum[i] = parts[i].sum;
        finite[i] = parts[i].count;
    }
    __syncthreads();
    uint64_t most = 0;
    float total = 0, numbers = 0;
    for (int64_t i = 0; i < count; ++i) {
        most = largest[i] > most ? largest[i] : most;
        total += sum[i];
        numbers += finite[i];
    }
    __syncthreads();
    return {most, candidate_value(most), total / numbers};
}

__device__ inline float weight_of(float logit, float max, float scale) {
    return vexp2_down((logit - max) * scale, -126);
}
__device__ inline uint64_t units_of(float weight) {
    return uint64_t(weight * kUnits);
}

// The first unit of mass that is more than this share, of `mass` at all.
__device__ inline uint64_t beyond(double share, uint64_t mass) {
    const uint64_t target = uint64_t(share * double(mass)) + 1;
    return target < mass ? target : mass;
}

// Numbers a row's candidates by bins, of which lower ones hold larger candidates, so fine that few
// tokens share one: a fourth of the bins lies between the largest logit and the mean.
//
// `many` candidates are of weights: bins divide octaves evenly.
struct Ruler {
    bool weights;
    float max, scale;
    float per_unit;  // bins for a distance of 1 in logits
    int shift;       // of a weight's bits

    __device__ Ruler(const RowDraw& how, const Summary& row)
        : weights(how.way == Way::many), max(row.max), scale(how.scale), per_unit(1), shift(8) {
        const float distance = row.max - row.mean, bins = kBins / 4;
        if (distance > 1e-30f && distance < 1e30f) per_unit = bins / distance;
        const float octaves = distance * scale;
        while (shift < 19 && float(1 << (23 - shift)) * octaves > bins) ++shift;
    }
    __device__ uint64_t candidate_of(float logit, int64_t id) const {
        if (!(logit > -INFINITY)) return 0;
        return candidate(weights ? weight_of(logit, max, scale) : logit, id);
    }
    __device__ int bin_of(float value) const {
        if (weights) {
            const uint32_t below = (f32_to_bits(1) - f32_to_bits(value)) >> shift;
            return below < kBins ? int(below) : kBins - 1;
        }
        const float depth = (max - value) * per_unit;
        return depth < kBins ? int(depth) : kBins - 1;
    }
    // What the way of drawing counts: tokens, or their weights.
    __device__ uint64_t mass_of(uint64_t c) const {
        return weights ? units_of(candidate_value(c)) : 1;
    }
};

}  // namespace genfast::cuda

// draw_rows in four launches, for all rows of a step together.
//
// Sampling needs the largest logit before it knows any weight, and all weights before it knows what
// the draw falls on: so the logits are read three times, by all of the GPU. The floor is one
// reading, 4 V bytes a row over the memory's bandwidth; they were just written, so that what comes
// after the first is likely to come from the cache. Nothing is sorted:
//   look     each part's largest logit, its digest and its mean
//   weigh    what lies in each of 2048 bins, between the largest logit and what is never drawn
//   gather   the tokens of the few bins in which the limits of top_k, top_p and min_p lie, and the
//            draw; which these are, each block finds out by itself
//   choose   among those
// Where logprobs are told, a row goes through all but the first a second time (cuda_tell.h).
#include "kernels/sample/cuda_choose.h"
#include "kernels/sample/cuda_plan.h"
#include "kernels/sample/cuda_tell.h"
#include "kernels/table.h"

namespace genfast::cuda {
namespace {

__device__ RowState& state_of(const DrawRowsArgs& a, int64_t row) {
    return reinterpret_cast<RowState*>(a.scratch)[row];
}

// Of block (part, row); or (part, rows + row): what is told of it.
struct Place {
    int64_t row, numbers, first;
    bool tells;
    RowDraw how;
    RowState &state, &drawn;  // drawn: of the row itself
    const float* logits;      // of the part

    __device__ explicit Place(const DrawRowsArgs& a)
        : row(blockIdx.y % a.rows),
          numbers(RowSize{a.V}.numbers(blockIdx.x)),
          first(blockIdx.x * kDigestPart),
          tells(blockIdx.y >= a.rows),
          how(tells ? likeliest(a.draws[row]) : a.draws[row]),
          state(state_of(a, blockIdx.y)),
          drawn(state_of(a, row)),
          logits(a.logits + row * a.V + first) {}
};

__global__ void look(DrawRowsArgs a) {
    wait_for_earlier_launches();
    __shared__ uint64_t largest[kThreads], digests[kDigestPart / kDigestRun];
    const Place at(a);
    if (at.how.way == Way::none) return;
    uint64_t most = 0;
    float sum = 0, count = 0;
    for (int64_t i = threadIdx.x; i < at.numbers; i += kThreads) {
        const float x = at.logits[i];
        if (!(x > -INFINITY)) continue;
        const uint64_t c = candidate(x, at.first + i);
        most = c > most ? c : most;
        sum += x < INFINITY ? x : 0;
        count += x < INFINITY ? 1 : 0;
    }
    largest[threadIdx.x] = most;
    sum = block_sum(sum);
    count = block_sum(count);
    const int64_t runs = (at.numbers + kDigestRun - 1) / kDigestRun;
    if (threadIdx.x < runs) {
        const int64_t from = threadIdx.x * kDigestRun, left = at.numbers - from;
        digests[threadIdx.x] = digest_run(at.logits + from, left < kDigestRun ? left : kDigestRun);
    }
    RowState* told = at.how.told >= 0 ? &state_of(a, a.rows + at.row) : nullptr;
    for (int i = blockIdx.x * kThreads + threadIdx.x; i < kBins; i += gridDim.x * kThreads) {
        at.state.bins[i] = 0;
        if (told) told->bins[i] = 0;
    }
    __syncthreads();
    if (threadIdx.x > 0) return;
    for (uint64_t c : largest) most = c > most ? c : most;
    at.state.parts[blockIdx.x] = {most, sum, count};
    at.state.digests[blockIdx.x] = digest_of(digests, runs);
    if (blockIdx.x > 0) return;
    at.state.listed = 0;
    if (told) told->listed = 0;
}

__global__ void weigh(DrawRowsArgs a) {
    wait_for_earlier_launches();
    const Place at(a);
    if (at.how.way != Way::top_k && at.how.way != Way::many) return;
    const Summary row = summarise(at.drawn.parts, gridDim.x);
    if (row.certain()) return;
    if (at.tells) add_up(at.logits, at.numbers, row.max, at.state.sums[blockIdx.x]);
    const Ruler ruler(at.how, row);
    for (int64_t i = threadIdx.x; i < at.numbers; i += kThreads) {
        const uint64_t c = ruler.candidate_of(at.logits[i], at.first + i);
        const uint64_t mass = c ? ruler.mass_of(c) : 0;
        if (mass) atomicAdd(&at.state.bins[ruler.bin_of(candidate_value(c))], mass);
    }
}

// In whatever order.
__device__ void list(RowState& state, uint64_t c) {
    const unsigned place = atomicAdd(&state.listed, 1u);
    if (place < kListed) state.list[place] = c;
}

__global__ void gather(DrawRowsArgs a) {
    wait_for_earlier_launches();
    const Place at(a);
    if (at.how.way == Way::none || at.how.way == Way::largest) return;
    const Summary row = summarise(at.drawn.parts, gridDim.x);
    if (row.certain()) return;
    if (at.how.way == Way::near) {
        const float bound = near_bound(row.max, at.how.distance);
        for (int64_t i = threadIdx.x; i < at.numbers; i += kThreads)
            if (at.logits[i] >= bound) list(at.state, candidate(at.logits[i], at.first + i));
        return;
    }
    const Ruler ruler(at.how, row);
    const BinSums sums(at.state.bins);
    const Plan plan = at.how.way == Way::top_k ? plan_top_k(sums, uint64_t(at.how.top_k))
                                               : plan_many(sums, at.how, ruler, at.state.bins);
    if (threadIdx.x == 0 && blockIdx.x == 0) at.state.plan = plan;
    for (int64_t i = threadIdx.x; i < at.numbers; i += kThreads) {
        const uint64_t c = ruler.candidate_of(at.logits[i], at.first + i);
        if (!c || !ruler.mass_of(c)) continue;
        const int bin = ruler.bin_of(candidate_value(c));
        if ((bin >= plan.from && bin <= plan.to) || bin == plan.limit) list(at.state, c);
    }
}

__device__ int32_t token_of(const RowState& state, const RowDraw& how, const RowSize& size) {
    const Summary row = summarise(state.parts, size.parts());
    if (row.largest == 0) return -1;
    if (how.way == Way::largest || row.certain()) return candidate_index(row.largest);
    // Near the largest the CPU too takes another way where there are more.
    if (state.listed > (how.way == Way::near ? unsigned(kFew) : unsigned(kListed))) return kUnsure;
    if (how.way == Way::many) return choose_many(state, how, Ruler(how, row), size.V);
    return choose_few(state, how, row.max);
}

__global__ void choose(DrawRowsArgs a) {
    wait_for_earlier_launches();
    const RowDraw& how = a.draws[blockIdx.x];
    if (how.way == Way::none) return;
    const RowSize size{a.V};
    const RowState& state = state_of(a, blockIdx.x);
    int32_t token = token_of(state, how, size);
    if (how.told >= 0 && token >= 0) {
        const Summary row = summarise(state.parts, size.parts());
        const Teller teller{state_of(a, a.rows + blockIdx.x), row.max, size.parts()};
        if (row.certain() ||
            !teller.tell(how.told, a.logits[blockIdx.x * a.V + token], a.told[blockIdx.x]))
            token = kUnsure;
    }
    if (threadIdx.x > 0) return;
    a.drawn[blockIdx.x] = {digest_of(state.digests, size.parts()), token};
}

}  // namespace

void draw_rows(const DrawRowsArgs& a) {
    dim3 parts(unsigned(RowSize{a.V}.parts()), unsigned(a.rows));
    launch(look, parts, kThreads, a);
    if (a.told) parts.y *= 2;
    launch(weigh, parts, kThreads, a);
    launch(gather, parts, kThreads, a);
    launch(choose, dim3(unsigned(a.rows)), kChoosers, a);
}

size_t draw_rows_scratch_bytes(int64_t rows) {
    return size_t(2 * rows) * sizeof(RowState);
}

}  // namespace genfast::cuda

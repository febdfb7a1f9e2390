#include "kernels/sample/nucleus.h"
#include "kernels/sample/ways.h"
#include "kernels/table.h"
#include "simd/topk.h"

namespace genfast::GENFAST_ISA {

// The first id with the largest logit; -1 when there is none above -infinity.
static int32_t argmax(const float* x, int64_t n) {
    constexpr int64_t part = 1024;
    float best = -__builtin_inff();
    int64_t where = 0;
    for (int64_t i = 0; i < n; i += part) {
        float max = row_max(x + i, n - i < part ? n - i : part);
        if (max > best) {
            best = max;
            where = i;
        }
    }
    if (!(best > -__builtin_inff())) return -1;
    while (!(x[where] == best)) ++where;
    return int32_t(where);
}

// Draws among few sorted tokens, in double and in the order of the reference.
static int32_t draw_few(const SampleArgs& a, Largest kept, double* weight) {
    double max = a.logits[candidate_index(kept.first[0])], total = 0;
    for (int64_t i = 0; i < kept.count; ++i) {
        double logit = a.logits[candidate_index(kept.first[i])];
        total += weight[i] = __builtin_exp((logit - max) / a.temperature);
    }
    int64_t count = kept.count;
    if (a.top_p < 1) {
        double sum = weight[0];
        for (count = 1; count < kept.count && sum < a.top_p * total; ++count) sum += weight[count];
    }
    while (count > 1 && weight[count - 1] < a.min_p) --count;
    double mass = 0, sum = 0;
    for (int64_t i = 0; i < count; ++i) mass += weight[i];
    for (int64_t i = 0; i < count; ++i) {
        sum += weight[i];
        if (sum > a.draw * mass) return candidate_index(kept.first[i]);
    }
    return candidate_index(kept.first[count - 1]);
}

// min_p alone needs no sum over all: what is kept lies within a distance of the largest logit.
// Gives no candidates when they are more than a few.
static Largest near_largest(const SampleArgs& a, const float* maxima, float max, uint64_t* room) {
    // What is too far falls out later.
    float bound = near_bound(max, near_distance(a.temperature, a.min_p));
    Vec limit = vset(bound);
    int64_t count = 0;
    visit_blocks(
        a.logits, a.V, maxima, bound, [&](Vec v) { return vmask_ge(v, limit); },
        [&](int64_t i) {
            if (count < kFew) room[count] = candidate(a.logits[i], i);
            return ++count <= kFew;
        });
    if (count > kFew) return {room, 0};
    return {sort_candidates(room, room + count, count), count};
}

static int32_t draw_token(const SampleArgs& a) {
    if (a.temperature == 0) return argmax(a.logits, a.V);
    float* maxima = (float*)a.scratch;
    int64_t blocks = max_blocks(a.V);
    std::byte* room = a.scratch + (blocks * sizeof(float) + 63) / 64 * 64;
    float max = block_maxima(a.logits, a.V, maxima);
    if (!(max > -__builtin_inff()) || max == __builtin_inff()) return argmax(a.logits, a.V);
    double weight[kFew];
    if (a.top_k > 0 && a.top_k <= kFew)
        return draw_few(a, largest(a.logits, a.V, maxima, max, a.top_k, (uint64_t*)room), weight);
    if (a.min_p > 0 && a.top_p == 1 && a.top_k == 0) {
        Largest near = near_largest(a, maxima, max, (uint64_t*)room);
        if (near.count) return draw_few(a, near, weight);
    }
    return draw_many(a, maxima, max, room);
}

void sample(const SampleArgs& a, Team& team) {
    if (team.index == 0) *a.token = draw_token(a);
}

}  // namespace genfast::GENFAST_ISA

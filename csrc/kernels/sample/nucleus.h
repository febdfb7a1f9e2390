// Drawing from a wide distribution without sorting it (weights.h).
#pragma once

#include "kernels/sample/weights.h"

namespace genfast::GENFAST_ISA {

// The tokens that carry most of the weight, when 128 hold all that is kept; else -1.
static int32_t draw_largest(const SampleArgs& a, Weights& w, const Logits& logits, double total) {
    constexpr int64_t most = 128;
    // A candidate's room is that of the search, which is not needed then.
    Largest top = largest(logits.value, logits.n, logits.maxima, logits.max, most,
                          (uint64_t*)w.row.near_values);
    // Weights may stand in another order than their logits: they are rounded.
    uint64_t room[2 * most];
    for (int64_t i = 0; i < top.count; ++i) {
        int32_t id = candidate_index(top.first[i]);
        room[i] = candidate(w.value[id], id);
    }
    const uint64_t* tokens = sort_candidates(room, room + most, top.count);
    // All with a larger weight than this are in the list.
    float listed = top.count < most ? 0 : candidate_value(tokens[most - 1]) * 1.000001f;
    double sum[most], mass = 0, target = a.top_p * total;
    int64_t kept = 0;
    bool whole = false;
    while (!whole && kept < top.count) {
        float weight = candidate_value(tokens[kept]);
        whole = weight < a.min_p || weight < kLeastWeight;
        if (whole || weight <= listed) break;
        sum[kept++] = mass += weight;
        whole = a.top_p < 1 && mass >= target;
    }
    if (!whole && top.count == most) {
        if (kept > 0) learn(w, candidate_value(tokens[kept - 1]), mass);
        return -1;
    }
    int64_t i = 0;
    while (i + 1 < kept && !(sum[i] > a.draw * mass)) ++i;
    return candidate_index(tokens[i]);
}

static double mass_from(const Weights& w, float value) {
    double mass;
    masses_from<1>(w, &value, &mass);
    return mass;
}

// Draws among all logits; returns the index of one.
static int32_t draw_index(const SampleArgs& a, const Logits& logits, Weights& w) {
    double total = fill_weights(w, logits, a.temperature);
    take_sample<Measure::weight>(w.row);
    if (w.row.sample_size < kEnough && (a.top_p < 1 || a.min_p > 0)) {
        int32_t index = draw_largest(a, w, logits, total);
        if (index >= 0) return index;
    }
    learn(w, kLeastWeight, total);
    Place kept = {kLeastWeight, kAnyId, total};
    if (a.top_p < 1) kept = find_place(w, a.top_p * total, false, kLeastWeight);
    if (a.min_p > kept.value) kept = {a.min_p, kAnyId, mass_from(w, a.min_p)};
    learn(w, kept.value, kept.mass);
    double target = a.draw * kept.mass;
    if (!(target < kept.mass)) target = kept.mass * (1 - 0x1p-52);
    Place drawn = find_place(w, target, true, kept.value);
    bool beyond = drawn.id < 0 || (drawn.value == kept.value && drawn.id > kept.id);
    return beyond ? kept.id : drawn.id;
}

// room: sample_scratch_bytes without the maxima
static int32_t draw_many(const SampleArgs& a, const float* maxima, float max, std::byte* room) {
    int64_t blocks = max_blocks(a.V), padded = blocks * kMaxBlock;
    Weights w;
    w.count = 0;
    w.value = (float*)room;
    w.maxima = w.value + padded;
    float* kept = w.maxima + (blocks + kLanes);
    int32_t* ids = (int32_t*)(kept + padded + kLanes);
    float* kept_maxima = (float*)(ids + padded + kLanes);
    float* near = kept_maxima + blocks + kLanes;
    int32_t* near_ids = (int32_t*)(near + padded + kLanes);
    float* sample = (float*)(near_ids + padded + kLanes);

    Logits logits = {a.logits, a.V, maxima, max, nullptr};
    w.row = {a.logits, a.V, blocks, maxima, near, near_ids, sample, 0, 0, 0};
    if (a.top_k > 0 && a.top_k < a.V) {
        take_sample<Measure::count>(w.row);
        int64_t n = copy_up_to(w.row, last_of_top_k(w.row, max, a.top_k), kept, ids);
        logits = {kept, n, kept_maxima, block_maxima(kept, n, kept_maxima), ids};
        blocks = max_blocks(n);
    }
    w.row = {w.value, blocks * kMaxBlock, blocks, w.maxima, near, near_ids, sample, 0, 0, 0};
    int32_t index = draw_index(a, logits, w);
    return logits.ids ? logits.ids[index] : index;
}

}  // namespace genfast::GENFAST_ISA

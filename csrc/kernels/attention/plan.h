// How a step is cut into jobs. Who does a job, and how the rows are cut, never changes a result, so
// the plan is free to look at the number of threads.
//
// A job is some rows of one bundle (rows.h) and KV head (rows count query heads within tokens:
// token
// * group + head) over a range of key blocks. Rows of a bundle read a block that they share once,
// all of them together, and others each for itself. While there are enough jobs to keep all threads
// busy, each covers all its rows' blocks and writes the output; otherwise (long contexts, few
// sequences) there is a job for each block, which leaves a record a row, and the records are merged
// afterwards.
#pragma once

#include "core/team.h"
#include "kernels/attention/rows.h"

namespace genfast::GENFAST_ISA {

constexpr int64_t kJobsPerThread = 8;
constexpr int64_t kMostRows = 384, kFewestRows = 12;  // of a job
constexpr int64_t kMostSplitRows = 96;                // where jobs are split by block

// Blocks [first, last), and before them the sinks.
struct Blocks {
    int64_t first, last;
    bool sinks;

    GENFAST_MEMBER int64_t count() const { return last - first + sinks; }
    GENFAST_MEMBER int64_t at(int64_t i) const {
        return sinks && i == 0 ? kSinkBlock : first + i - sinks;
    }
    GENFAST_MEMBER Blocks alone(int64_t i) const {
        int64_t block = at(i);
        if (block == kSinkBlock) return {0, 0, true};
        return {block, block + 1, false};
    }
};

struct Job {
    int32_t span, spans, head;  // a bundle's
    int64_t row, rows;
    Blocks blocks;
    int64_t record;  // its first record, or -1: it covers everything
};

struct Plan {
    int64_t jobs;
    int64_t rows_a_job, merges;  // merges: jobs before they were split by block
    int64_t bucket[64];
};

// How many blocks span i shares with the one after it: the same pages, and all their tokens before
// either's. None with a window, where rows see different parts of a block.
static void find_shared(const AttentionArgs& a, int32_t* shared) {
    for (int64_t i = 0; i < a.span_count; ++i) {
        shared[i] = 0;
        if (i + 1 == a.span_count || a.window > 0) continue;
        const SequenceSpan &one = a.spans[i], &next = a.spans[i + 1];
        if (one.rows != 1 || next.rows != 1 || next.row != one.row + 1) continue;
        int64_t blocks = (one.start < next.start ? one.start : next.start) / kRunTokens;
        while (shared[i] < blocks &&
               __builtin_memcmp(one.pages + shared[i] * kRunPages,
                                next.pages + shared[i] * kRunPages, kRunPages * 4) == 0)
            ++shared[i];
    }
}

static inline Bundle bundle_at(const AttentionArgs& a, const int32_t* shared, int64_t span) {
    Bundle bundle{a.spans + span, 1};
    while (shared[span + bundle.count - 1] > 0) ++bundle.count;
    return bundle;
}

static inline Bundle bundle_of(const AttentionArgs& a, const Job& job) {
    return {a.spans + job.span, job.spans};
}

// Rows of a job, from `row` on, that read the same pages of a block: where they end.
static inline int64_t end_of_alike(const AttentionArgs& a, const int32_t* shared, const Job& job,
                                   int64_t block, int64_t row) {
    if (job.spans == 1) return job.rows;
    int64_t group = a.heads / a.layout.heads, token = (job.row + row) / group;
    while (shared[job.span + token] > block) ++token;
    int64_t end = (token + 1) * group - job.row;
    return end < job.rows ? end : job.rows;
}

// What rows [row, row + rows) of a bundle may see.
static inline Blocks visible_blocks(const AttentionArgs& a, const Bundle& bundle, int64_t row,
                                    int64_t rows) {
    int64_t group = a.heads / a.layout.heads, first = row / group;
    int64_t oldest = bundle.position(first), newest = oldest;
    for (int64_t token = (row + rows - 1) / group; token > first; --token) {
        if (bundle.position(token) > newest) newest = bundle.position(token);
        if (bundle.count == 1) break;  // positions ascend
    }
    int64_t begin = a.window > 0 && oldest >= a.window ? oldest - a.window + 1 : 0;
    return {begin / kRunTokens, newest / kRunTokens + 1, a.sinks > 0};
}

static inline int64_t count_jobs(const AttentionArgs& a, const int32_t* shared,
                                 int64_t rows_a_job) {
    int64_t group = a.heads / a.layout.heads, jobs = 0;
    for (int64_t i = 0; i < a.span_count;) {
        Bundle bundle = bundle_at(a, shared, i);
        jobs += (bundle.tokens() * group + rows_a_job - 1) / rows_a_job * a.layout.heads;
        i += bundle.count;
    }
    return jobs;
}

// Calls fn(job) for every job before splitting, in a fixed order.
template <class Fn>
GENFAST_INLINE void each_job(const AttentionArgs& a, const int32_t* shared, int64_t rows_a_job,
                             Fn fn) {
    int64_t group = a.heads / a.layout.heads;
    for (int64_t i = 0; i < a.span_count;) {
        Bundle bundle = bundle_at(a, shared, i);
        int64_t rows = bundle.tokens() * group;
        for (int64_t row = 0; row < rows; row += rows_a_job) {
            int64_t now = rows - row < rows_a_job ? rows - row : rows_a_job;
            Blocks blocks = visible_blocks(a, bundle, row, now);
            for (int head = 0; head < a.layout.heads; ++head)
                fn(Job{int32_t(i), int32_t(bundle.count), head, row, now, blocks, -1});
        }
        i += bundle.count;
    }
}

// As many, but a block each.
static inline int64_t count_split_jobs(const AttentionArgs& a, const int32_t* shared,
                                       int64_t rows_a_job) {
    int64_t jobs = 0;
    each_job(a, shared, rows_a_job, [&](Job job) { jobs += job.blocks.count(); });
    return jobs;
}

// Buckets by size, two a doubling, the largest first: dynamic assignment then ends evenly.
static inline int job_bucket(const Job& job) {
    int64_t cost = job.rows * job.blocks.count();
    int log = 63 - __builtin_clzll(uint64_t(cost) | 1);
    int half = log > 0 && (cost >> (log - 1) & 1);
    int bucket = 63 - (2 * log + half);
    return bucket < 0 ? 0 : bucket;
}

// Fills in `shared` (of each span), then the plan and its jobs.
static void make_plan(const AttentionArgs& a, int threads, int32_t* shared, Plan* plan, Job* jobs) {
    find_shared(a, shared);
    int64_t enough = kJobsPerThread * threads, rows = kMostRows;
    // A block's keys and values, the queries and their records should stay in L2 together.
    if (a.layout.head_dim > 64) rows /= a.layout.head_dim > 128 ? 4 : 2;
    // Few rows that read the same keys stay together where there are blocks to share out instead;
    // scratch has records for no more.
    const bool few = a.T * a.heads <= enough * kFewestRows;
    auto blocks_do = [&] {
        return few && rows <= kMostSplitRows && count_split_jobs(a, shared, rows) >= enough;
    };
    while (rows > kFewestRows && count_jobs(a, shared, rows) < enough && !blocks_do()) rows /= 2;
    plan->rows_a_job = rows;
    plan->merges = 0;
    plan->jobs = 0;
    if (count_jobs(a, shared, rows) < enough) {
        // Rows that go together read a block once.
        while (rows < kMostSplitRows && count_split_jobs(a, shared, 2 * rows) >= enough) rows *= 2;
        plan->rows_a_job = rows;
        int64_t records = 0;
        each_job(a, shared, rows, [&](Job job) {
            for (int64_t i = 0; i < job.blocks.count(); ++i) {
                jobs[plan->jobs] = job;
                jobs[plan->jobs].blocks = job.blocks.alone(i);
                jobs[plan->jobs++].record = records;
                records += job.rows;
            }
            ++plan->merges;
        });
        return;
    }
    for (int64_t& start : plan->bucket) start = 0;
    each_job(a, shared, rows, [&](Job job) { ++plan->bucket[job_bucket(job)]; });
    for (int64_t& start : plan->bucket) {
        int64_t count = start;
        start = plan->jobs;
        plan->jobs += count;
    }
    each_job(a, shared, rows, [&](Job job) { jobs[plan->bucket[job_bucket(job)]++] = job; });
}

// Scratch holds the plan, its jobs, what spans share, the records of split jobs, then each thread's
// own part.
struct ScratchSizes {
    int64_t jobs, records;
};

static ScratchSizes scratch_sizes(const KvLayout& layout, int heads, int64_t T, int threads,
                                  int64_t max_context, int64_t spans) {
    int64_t group = heads / layout.heads;
    int64_t blocks = (max_context + kRunTokens - 1) / kRunTokens + 1;  // and the sinks
    int64_t whole = (T * group / kFewestRows + spans) * layout.heads;
    int64_t split = kJobsPerThread * threads < whole ? kJobsPerThread * threads : whole;
    int64_t split_rows = split * kFewestRows < T * heads ? split * kFewestRows : T * heads;
    return {whole + split * blocks, round_up(split_rows * blocks, 16)};
}

}  // namespace genfast::GENFAST_ISA

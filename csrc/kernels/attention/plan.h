// How a step is cut into jobs. Who does a job, and how the rows are cut, never changes a result, so
// the plan is free to look at the number of threads.
//
// A job is some rows of one span and KV head (rows count query heads within tokens: token * group +
// head) over a range of key blocks. While there are enough jobs to keep all threads busy, each
// covers all its rows' blocks and writes the output; otherwise (long contexts, few sequences) there
// is a job for each block, which leaves a record a row, and the records are merged afterwards.
#pragma once

#include "core/team.h"
#include "kernels/attention/rows.h"

namespace genfast::GENFAST_ISA {

constexpr int64_t kJobsPerThread = 8;
constexpr int64_t kMostRows = 384, kFewestRows = 12;  // of a job

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
    int32_t span, head;
    int64_t row, rows;
    Blocks blocks;
    int64_t record;  // its first record, or -1: it covers everything
};

struct Plan {
    int64_t jobs;
    int64_t rows_a_job, merges;  // merges: jobs before they were split by block
    int64_t bucket[64];
};

// What rows [row, row + rows) of a span may see.
static inline Blocks visible_blocks(const AttentionArgs& a, const SequenceSpan& span, int64_t row,
                                    int64_t rows) {
    int64_t group = a.heads / a.layout.heads;
    int64_t oldest = span.start + row / group, newest = span.start + (row + rows - 1) / group;
    int64_t begin = a.window > 0 && oldest >= a.window ? oldest - a.window + 1 : 0;
    return {begin / kRunTokens, newest / kRunTokens + 1, a.sinks > 0};
}

static inline int64_t count_jobs(const AttentionArgs& a, int64_t rows_a_job) {
    int64_t group = a.heads / a.layout.heads, jobs = 0;
    for (int64_t i = 0; i < a.span_count; ++i)
        jobs += (a.spans[i].rows * group + rows_a_job - 1) / rows_a_job * a.layout.heads;
    return jobs;
}

// Calls fn(job) for every job before splitting, in a fixed order.
template <class Fn>
GENFAST_INLINE void each_job(const AttentionArgs& a, int64_t rows_a_job, Fn fn) {
    int64_t group = a.heads / a.layout.heads;
    for (int64_t i = 0; i < a.span_count; ++i) {
        int64_t rows = a.spans[i].rows * group;
        for (int64_t row = 0; row < rows; row += rows_a_job) {
            int64_t now = rows - row < rows_a_job ? rows - row : rows_a_job;
            Blocks blocks = visible_blocks(a, a.spans[i], row, now);
            for (int head = 0; head < a.layout.heads; ++head)
                fn(Job{int32_t(i), head, row, now, blocks, -1});
        }
    }
}

// Buckets by size, two a doubling, the largest first: dynamic assignment then ends evenly.
static inline int job_bucket(const Job& job) {
    int64_t cost = job.rows * job.blocks.count();
    int log = 63 - __builtin_clzll(uint64_t(cost) | 1);
    int half = log > 0 && (cost >> (log - 1) & 1);
    int bucket = 63 - (2 * log + half);
    return bucket < 0 ? 0 : bucket;
}

static void make_plan(const AttentionArgs& a, int threads, Plan* plan, Job* jobs) {
    int64_t enough = kJobsPerThread * threads, rows = kMostRows;
    // A block's keys and values, the queries and their records should stay in L2 together.
    if (a.layout.head_dim > 64) rows /= a.layout.head_dim > 128 ? 4 : 2;
    while (rows > kFewestRows && count_jobs(a, rows) < enough) rows /= 2;
    plan->rows_a_job = rows;
    plan->merges = 0;
    plan->jobs = 0;
    if (count_jobs(a, rows) < enough) {
        int64_t records = 0;
        each_job(a, rows, [&](Job job) {
            for (int64_t i = 0; i < job.blocks.count(); ++i) {
                jobs[plan->jobs++] = {job.span, job.head, job.row, job.rows, job.blocks.alone(i),
                                      records};
                records += job.rows;
            }
            ++plan->merges;
        });
        return;
    }
    for (int64_t& start : plan->bucket) start = 0;
    each_job(a, rows, [&](Job job) { ++plan->bucket[job_bucket(job)]; });
    for (int64_t& start : plan->bucket) {
        int64_t count = start;
        start = plan->jobs;
        plan->jobs += count;
    }
    each_job(a, rows, [&](Job job) { jobs[plan->bucket[job_bucket(job)]++] = job; });
}

// Scratch holds the plan, its jobs, the records of split jobs, then each thread's own part.
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

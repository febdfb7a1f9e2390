// Attention over Vec. A step has three parts: new keys and values are appended; jobs (plan.h)
// attend, a tile of rows and a block of keys at a time (product, softmax, product); records of jobs
// that were split by block are merged.
#include "core/cpu_flags.h"
#include "kernels/attention/append.h"
#include "kernels/attention/attend_int4.h"
#include "kernels/attention/attend_int8.h"
#include "kernels/attention/plan.h"
#include "kernels/table.h"

namespace genfast::GENFAST_ISA {
namespace {

// A thread's own memory.
struct Workspace {
    float* queries;   // [tile rows][kQueryStride], padded with zeros to Ds
    Records records;  // a job's
    Records tile;     // one tile's and block's
    float* scores;    // [tile rows][kScoreStride]
    float* scales;    // int8, int4, fp8: [2][512]
    int32_t* packed;  // int8, int4: factors as integers
};

constexpr int64_t kFixedFloats =
    2 * kRunTokens + kFixedTileRows * (kFixedQueryStride + kFixedWeightStride);

int64_t workspace_floats(const KvLayout& layout) {
    int64_t Ds = layout.stored_dim(), floats = kTileRows * (kQueryStride + kScoreStride) +
                                               record_floats(kMostRows, Ds) + record_floats(16, Ds);
    if (layout.page_scale_bytes() > 0) floats += kFixedFloats;
    return floats;
}

Workspace workspace(const KvLayout& layout, float* memory) {
    int64_t Ds = layout.stored_dim();
    Workspace w;
    w.queries = memory;
    w.scores = w.queries + kTileRows * kQueryStride;
    memory = w.scores + kTileRows * kScoreStride;
    w.records = records_at(memory, kMostRows, Ds);
    memory += record_floats(kMostRows, Ds);
    w.tile = records_at(memory, 16, Ds);
    w.scales = memory + record_floats(16, Ds);
    w.packed = reinterpret_cast<int32_t*>(w.scales + 2 * kRunTokens);
    return w;
}

void clear(const Records& records, int64_t rows, int64_t Ds) {
    for (int64_t i = 0; i < rows * Ds; i += kLanes) vstore(records.o + i, vzero());
    for (int64_t r = 0; r < rows; ++r) {
        records.m[r] = kMinusInfinity;
        records.l[r] = 0;
    }
}

template <class Source>
void attend(const AttentionArgs& a, const Block& block, const Tile& tile, const Workspace& w,
            const Records& records) {
    if constexpr (__is_same(Source, Fixed))
        attend_tile_int8(a, block, tile, w.queries, w.packed, w.scales, w.scores, records);
    else if constexpr (__is_same(Source, Nibbles))
        attend_tile_int4(a, block, tile, w.queries, w.packed, w.scales, w.scores, records);
    else
        attend_tile<Source>(a, block, tile, w.queries, w.scales, w.scores, records);
}

// Of a block of the sequence, from the cache.
int64_t block_start(const AttentionArgs& a, const SequenceSpan& span, int head, int64_t block) {
    return int64_t(a.layout.keys(span.pages[first_page(block)], head));
}

// Of the block that a job reads first; it is that of a sequence which has come so far.
int64_t block_start(const AttentionArgs& a, const Job& job) {
    Bundle bundle = bundle_of(a, job);
    int64_t block = job.blocks.at(0), token = RowCursor(a, job.row).token;
    while (bundle.count > 1 && bundle.position(token) / kRunTokens < block) ++token;
    return block_start(a, bundle.span_of(token), job.head, block);
}

template <class Source>
void run_job(const AttentionArgs& a, const int32_t* shared, const Job& job, const Job* next,
             const Records& split, const Workspace& w) {
    constexpr int most_rows = __is_same(Source, Fixed) ? kFixedTileRows : Source::kRows;
    const Bundle bundle = bundle_of(a, job);
    int64_t Ds = a.layout.stored_dim();
    bool whole = job.record < 0;
    if (whole) clear(w.records, job.rows, Ds);

    for (int64_t i = 0; i < job.blocks.count(); ++i) {
        int64_t b = job.blocks.at(i);
        for (int64_t first = 0, last; first < job.rows; first = last) {
            last = end_of_alike(a, shared, job, b, first);
            int64_t token = RowCursor(a, job.row + first).token;
            const SequenceSpan& span = bundle.span_of(token);
            int64_t newest = bundle.position(RowCursor(a, job.row + last - 1).token);
            int begin = visible(a, bundle.position(token), b).begin;
            int end = visible(a, newest, b).end;
            Block block;
            block.next =
                next && begin < end ? block_start(a, *next) - block_start(a, span, job.head, b) : 0;
            view_block(a, span, job.head, b, begin, end, &block);
            for (int64_t r = first, rows; r < last; r += rows) {
                rows = last - r < most_rows ? last - r : most_rows;
                Tile tile = make_tile(a, bundle, job.head, job.row + r, int(rows), b);
                if (whole && tile.first >= tile.last) continue;
                Records records = whole ? w.tile : split.from(job.record + r, Ds);
                load_queries<Source>(a, bundle, job.head, job.row + r, int(rows), w.queries);
                if (r + rows + most_rows <= last)
                    prefetch_rows(a, bundle, job.head, job.row + r + rows, most_rows);
                attend<Source>(a, block, tile, w, records);
                if (whole) merge(w.records.from(r, Ds), records, int(rows), Ds);
            }
        }
    }
    if (whole) write_output(a, bundle, job.head, job.row, job.rows, w.records);
}

using RunJob = void (*)(const AttentionArgs&, const int32_t* shared, const Job&, const Job* next,
                        const Records&, const Workspace&);

struct Variant {
    const char* name;
    RunJob run;
};

Variant variant_for(KvType type) {
    switch (type) {
        case KvType::f32:
            return {"f32", run_job<Float32>};
        case KvType::bf16:
#if defined(__AVX512F__)
            if (cpu_has_avx512_bf16()) return {"bf16_dot", run_job<BFloat16Dot>};
#endif
            return {"bf16", run_job<BFloat16>};
        case KvType::int8:
            return {"int8_fixed", run_job<Fixed>};
        case KvType::int4:
            return {"int4_fixed", run_job<Nibbles>};
        case KvType::fp8:
            return {"fp8", run_job<Float8>};
    }
    return {};
}

// Puts together the records of jobs that were split by block; each thread takes some of the jobs.
void merge_split(const AttentionArgs& a, const int32_t* shared, const Plan& plan,
                 const Records& split, const Records& rows, Team& team) {
    int64_t Ds = a.layout.stored_dim(), record = 0, index = 0;
    each_job(a, shared, plan.rows_a_job, [&](Job job) {
        if (index++ % team.count == team.index) {
            clear(rows, job.rows, Ds);
            for (int64_t b = 0; b < job.blocks.count(); ++b)
                for (int64_t r = 0; r < job.rows; r += kLanes) {
                    int64_t now = job.rows - r < kLanes ? job.rows - r : kLanes;
                    merge(rows.from(r, Ds), split.from(record + b * job.rows + r, Ds), int(now),
                          Ds);
                }
            write_output(a, bundle_of(a, job), job.head, job.row, job.rows, rows);
        }
        record += job.blocks.count() * job.rows;
    });
}

}  // namespace

void attention(const AttentionArgs& a, Team& team) {
    int64_t context = 0;
    for (int64_t i = 0; i < a.span_count; ++i) {
        int64_t end = a.spans[i].start + a.spans[i].rows;
        context = end > context ? end : context;
    }
    ScratchSizes sizes = scratch_sizes(a.layout, a.heads, a.T, team.count, context, a.span_count);
    int64_t Ds = a.layout.stored_dim();
    Plan* plan = reinterpret_cast<Plan*>(a.scratch);
    Job* jobs = reinterpret_cast<Job*>(plan + 1);
    std::byte* behind_jobs =
        reinterpret_cast<std::byte*>(jobs) + round_up(sizes.jobs * int64_t(sizeof(Job)), 64);
    int32_t* shared = reinterpret_cast<int32_t*>(behind_jobs);
    float* memory = reinterpret_cast<float*>(behind_jobs + round_up(a.span_count * 4, 64));
    Records split = records_at(memory, sizes.records, Ds);
    memory += record_floats(sizes.records, Ds) + team.index * workspace_floats(a.layout);
    Workspace w = workspace(a.layout, memory);

    if (team.index == 0) make_plan(a, team.count, shared, plan, jobs);
    append_step(a, team);
    team.sync();
    const RunJob run = variant_for(a.layout.type).run;
    if (plan->merges == 0) {
        team.each_job(plan->jobs,
                      [&](int64_t job) { run(a, shared, jobs[job], nullptr, split, w); });
        return;
    }
    // int8 and int4 compute about as long as they read: a job is drawn while the one before is
    // still to be done, and that one asks for its keys and values (product_fixed.h). Not so the
    // last ones: nobody should hold a job back while another has none. Others only wait for memory:
    // asking costs.
    const Job* held = nullptr;
    int64_t last = a.layout.page_scale_bytes() > 0 ? plan->jobs - 2 * team.count : 0;
    team.each_job(plan->jobs, [&](int64_t job) {
        if (held) run(a, shared, *held, &jobs[job], split, w);
        held = job < last ? &jobs[job] : nullptr;
        if (!held) run(a, shared, jobs[job], nullptr, split, w);
    });
    if (held) run(a, shared, *held, nullptr, split, w);
    team.sync();
    merge_split(a, shared, *plan, split, w.records, team);
}

size_t attention_scratch_bytes(const KvLayout& layout, int heads, int64_t T, int threads,
                               int64_t max_context, int64_t spans) {
    ScratchSizes sizes = scratch_sizes(layout, heads, T, threads, max_context, spans);
    int64_t floats =
        record_floats(sizes.records, layout.stored_dim()) + threads * workspace_floats(layout);
    return sizeof(Plan) + size_t(round_up(sizes.jobs * int64_t(sizeof(Job)), 64) +
                                 round_up(spans * 4, 64) + floats * 4);
}

const char* attention_variant(KvType type) {
    return variant_for(type).name;
}

}  // namespace genfast::GENFAST_ISA

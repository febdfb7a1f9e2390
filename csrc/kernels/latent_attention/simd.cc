// Latent attention over Vec. The heads of a token go in sixteens, a vector's lanes: a unit. A part
// is a few units over the blocks they see, done by whoever is free; where there are fewer units
// than threads want, a part is one unit's block, and its record is merged afterwards.
#include "kernels/latent_attention/product.h"
#include "kernels/latent_attention/rows.h"
#include "kernels/table.h"

namespace genfast::GENFAST_ISA {
namespace {

constexpr int kPartUnits = 4;  // whose queries and sums stay in L2 beside a page

// What a unit knows of some tokens, a column a head: weighted rows o, relative to 2^m, and the sum
// of weights l; nothing: 0, -inf, 0.
struct Record {
    float *o, *m, *l;  // [R][16], [16], [16]
};
int64_t record_floats(const LatentArgs& a) {
    return (a.layout.latent + 2) * kLanes;
}
Record record_at(const LatentArgs& a, float* memory) {
    const int64_t R = a.layout.latent;
    return {memory, memory + R * kLanes, memory + (R + 1) * kLanes};
}
void clear(const LatentArgs& a, const Record& r) {
    for (int64_t d = 0; d < a.layout.latent; ++d) vstore(r.o + d * kLanes, vzero());
    vstore(r.m, vset(kMinusInfinity));
    vstore(r.l, vzero());
}

int64_t units_of_token(const LatentArgs& a) {
    return (a.heads + kLanes - 1) / kLanes;
}
int64_t units_of(const LatentArgs& a, const SequenceSpan& span) {
    return span.rows * units_of_token(a);
}

struct Unit {
    int64_t row = 0, position = 0;
    int head = 0, heads = 0;  // the first of its heads, and how many

    Unit() = default;
    Unit(const LatentArgs& a, const SequenceSpan& span, int64_t index) {
        const int64_t token = index / units_of_token(a);
        row = span.row + token;
        position = span.start + token;
        head = int(index % units_of_token(a)) * kLanes;
        heads = a.heads - head < kLanes ? a.heads - head : kLanes;
    }
    int64_t begin(const LatentArgs& a) const {
        return a.window > 0 && position >= a.window ? position - a.window + 1 : 0;
    }
    // The blocks it sees: those from its window's first on, and the first for its sinks.
    bool sinks_apart(const LatentArgs& a) const { return a.sinks > 0 && begin(a) >= kRunTokens; }
    int64_t blocks(const LatentArgs& a) const {
        return position / kRunTokens - begin(a) / kRunTokens + 1 + sinks_apart(a);
    }
    int64_t block(const LatentArgs& a, int64_t i) const {
        return sinks_apart(a) ? i ? begin(a) / kRunTokens + i - 1 : 0 : begin(a) / kRunTokens + i;
    }
    bool sees(const LatentArgs& a, int64_t block) const {
        return block <= position / kRunTokens &&
               (block >= begin(a) / kRunTokens || (block == 0 && a.sinks > 0));
    }
};

// What a unit sees of a page: a range of its tokens, and of the first page the sinks before it.
struct Seen {
    int begin, end;
    bool operator==(const Seen& other) const { return begin == other.begin && end == other.end; }
};
Seen seen_of(const LatentArgs& a, const Unit& unit, int64_t page, bool sinks) {
    int64_t begin = unit.begin(a) - page * kPageTokens;
    int64_t end = unit.position + 1 - page * kPageTokens;
    if (sinks) begin = 0, end = end < a.sinks ? end : a.sinks;
    if (!sinks && page == 0 && begin < a.sinks) begin = a.sinks;
    begin = begin > 0 ? begin : 0;
    end = end < kPageTokens ? end : kPageTokens;
    return {int(begin), int(end)};
}

// A thread's own memory.
struct Workspace {
    float* rows;     // [32][kRowStride], the page at hand
    float* queries;  // [kPartUnits][R + P][16]
    float* scores;   // [kTileUnits][32][16]
    float* blocks;   // records of the block at hand, and of all before it
    float* totals;
};
int64_t workspace_floats(const LatentArgs& a) {
    return kPageTokens * kRowStride + kTileUnits * kPageTokens * kLanes +
           kPartUnits * (a.layout.head_dim * kLanes + 2 * record_floats(a));
}
Workspace workspace(const LatentArgs& a, float* memory) {
    Workspace w;
    w.rows = memory;
    w.scores = w.rows + kPageTokens * kRowStride;
    w.queries = w.scores + kTileUnits * kPageTokens * kLanes;
    w.blocks = w.queries + kPartUnits * a.layout.head_dim * kLanes;
    w.totals = w.blocks + kPartUnits * record_floats(a);
    return w;
}

void load_queries(const LatentArgs& a, const Unit& unit, float* to) {
    const int64_t R = a.layout.latent, P = a.layout.head_dim - R;
    to_columns(a.q + (unit.row * a.heads + unit.head) * R, R, unit.heads, R, to);
    to_columns(a.turned + unit.row * a.columns + unit.head * P, P, unit.heads, P, to + R * kLanes);
}

// Scores [n][16] become weights; what the record holds is to be multiplied by `factor`.
void weigh(const LatentArgs& a, float* scores, int n, const Record& record, float* factor) {
    const Vec f = vset(a.scale * 1.44269504f);  // weights are powers of two
    Vec largest = vload(scores);
    for (int t = 1; t < n; ++t) largest = vmax(largest, vload(scores + t * kLanes));
    const Vec before = vload(record.m), top = vmax(before, vmul(largest, f));
    const Vec kept = vexp2<5>(vsub(before, top)), minus = vsub(vzero(), top);
    Vec sum = vmul(vload(record.l), kept);
    for (int t = 0; t < n; ++t) {
        const Vec weight = vexp2<5>(vfma(vload(scores + t * kLanes), f, minus));
        sum = vadd(sum, weight);
        vstore(scores + t * kLanes, weight);
    }
    vstore(record.m, top);
    vstore(record.l, sum);
    vstore(factor, kept);
}

// U units that see the same tokens of the page.
template <int U>
void attend(const LatentArgs& a, const Workspace& w, Seen seen, int64_t unit, float* records) {
    const int64_t R = a.layout.latent, D = a.layout.head_dim, size = record_floats(a);
    const float* rows = w.rows + seen.begin * kRowStride;
    const int n = seen.end - seen.begin;
    constexpr int64_t score_unit = kPageTokens * kLanes;
    float factors[U * kLanes];
    multiply_rows<true, U>(
        {rows, w.queries + unit * D * kLanes, D * kLanes, D, w.scores, score_unit, nullptr}, n);
    for (int u = 0; u < U; ++u)
        weigh(a, w.scores + u * score_unit, n, record_at(a, records + (unit + u) * size),
              factors + u * kLanes);
    multiply_rows<false, U>({rows, w.scores, score_unit, n, records + unit * size, size, factors},
                            R);
}

// One page, or of the first the sinks alone.
void attend_page(const LatentArgs& a, const SequenceSpan& span, const Unit* units, int count,
                 int64_t page, bool sinks, const Workspace& w, float* records) {
    Seen seen[kPartUnits];
    int first = kPageTokens, last = 0;
    for (int u = 0; u < count; ++u) {
        seen[u] = seen_of(a, units[u], page, sinks);
        if (seen[u].begin >= seen[u].end) continue;
        first = seen[u].begin < first ? seen[u].begin : first;
        last = seen[u].end > last ? seen[u].end : last;
    }
    for (int t = first; t < last; ++t) load_row(a, span.pages[page], t, w.rows + t * kRowStride);
    for (int u = 0; u < count;) {
        const bool two = kTileUnits == 2 && u + 1 < count && seen[u] == seen[u + 1];
        if (seen[u].begin < seen[u].end) {
            if constexpr (kTileUnits == 2)
                if (two) attend<2>(a, w, seen[u], u, records);
            if (!two) attend<1>(a, w, seen[u], u, records);
        }
        u += two ? 2 : 1;
    }
}

void attend_block(const LatentArgs& a, const SequenceSpan& span, const Unit* units, int count,
                  int64_t block, const Workspace& w, float* records) {
    for (int u = 0; u < count; ++u) clear(a, record_at(a, records + u * record_floats(a)));
    const int64_t newest = units[count - 1].position / kPageTokens;
    for (int64_t page = block * kRunPages; page < (block + 1) * kRunPages && page <= newest;
         ++page) {
        if (page == 0 && a.sinks > 0) attend_page(a, span, units, count, page, true, w, records);
        attend_page(a, span, units, count, page, false, w, records);
    }
}

// to <- to and, after it, block. Always called in ascending order of blocks.
void merge(const LatentArgs& a, const Record& to, const Record& block) {
    const Vec mine = vload(to.m), theirs = vload(block.m), top = vmax(mine, theirs);
    const Vec old_factor = vexp2<5>(vsub(mine, top)), new_factor = vexp2<5>(vsub(theirs, top));
    for (int64_t d = 0; d < a.layout.latent * kLanes; d += kLanes)
        vstore(to.o + d, vfma(vload(to.o + d), old_factor, vmul(vload(block.o + d), new_factor)));
    vstore(to.l, vfma(vload(to.l), old_factor, vmul(vload(block.l), new_factor)));
    vstore(to.m, top);
}

void write_output(const LatentArgs& a, const Unit& unit, const Record& record) {
    const int64_t R = a.layout.latent;
    const Vec inverse = vdiv(vset(1), vload(record.l));
    for (int64_t d = 0; d < R * kLanes; d += kLanes)
        vstore(record.o + d, vmul(vload(record.o + d), inverse));
    to_rows(record.o, unit.heads, R, a.out + (unit.row * a.heads + unit.head) * R, R);
}

// Units [first, first + count) of a span, all they see.
void run_whole(const LatentArgs& a, const SequenceSpan& span, int64_t first, int count,
               const Workspace& w) {
    const int64_t size = record_floats(a);
    Unit units[kPartUnits];
    for (int u = 0; u < count; ++u) {
        units[u] = Unit(a, span, first + u);
        load_queries(a, units[u], w.queries + u * a.layout.head_dim * kLanes);
        clear(a, record_at(a, w.totals + u * size));
    }
    for (int64_t block = 0; block <= units[count - 1].position / kRunTokens; ++block) {
        bool any = false;
        for (int u = 0; u < count; ++u) any |= units[u].sees(a, block);
        if (!any) continue;
        attend_block(a, span, units, count, block, w, w.blocks);
        for (int u = 0; u < count; ++u)
            if (units[u].sees(a, block))
                merge(a, record_at(a, w.totals + u * size), record_at(a, w.blocks + u * size));
    }
    for (int u = 0; u < count; ++u) write_output(a, units[u], record_at(a, w.totals + u * size));
}

// Calls fn(span, unit, index of its first record) for every unit.
template <class Fn>
void each_unit(const LatentArgs& a, Fn fn) {
    int64_t record = 0;
    for (int64_t i = 0; i < a.span_count; ++i)
        for (int64_t j = 0; j < units_of(a, a.spans[i]); ++j) {
            const Unit unit(a, a.spans[i], j);
            fn(a.spans[i], unit, record);
            record += unit.blocks(a);
        }
}

// Fewer units than these are cut by block: records of more would take much memory.
int64_t few_units(int threads) {
    return threads > 1 ? 2 * threads : 0;
}

void run_split(const LatentArgs& a, float* records, const Workspace& w, Team& team) {
    const int64_t size = record_floats(a);
    int64_t jobs = 0;
    each_unit(a, [&](const SequenceSpan&, const Unit& unit, int64_t) { jobs += unit.blocks(a); });
    team.each_job(jobs, [&](int64_t job) {
        each_unit(a, [&](const SequenceSpan& span, const Unit& unit, int64_t first) {
            if (job < first || job >= first + unit.blocks(a)) return;
            load_queries(a, unit, w.queries);
            attend_block(a, span, &unit, 1, unit.block(a, job - first), w, records + job * size);
        });
    });
    team.sync();
    int64_t index = 0;
    const Record total = record_at(a, w.totals);
    each_unit(a, [&](const SequenceSpan&, const Unit& unit, int64_t first) {
        if (index++ % team.count != team.index) return;
        clear(a, total);
        for (int64_t i = 0; i < unit.blocks(a); ++i)
            merge(a, total, record_at(a, records + (first + i) * size));
        write_output(a, unit, total);
    });
}

// Parts of `most` units, the newest tokens first: they see most.
void run_parts(const LatentArgs& a, int64_t most, const Workspace& w, Team& team) {
    int64_t parts = 0;
    for (int64_t i = 0; i < a.span_count; ++i) parts += (units_of(a, a.spans[i]) + most - 1) / most;
    team.each_job(parts, [&](int64_t job) {
        const SequenceSpan* span = a.spans;
        for (int64_t mine; mine = (units_of(a, *span) + most - 1) / most, job >= mine; ++span)
            job -= mine;
        const int64_t units = units_of(a, *span), end = units - job * most;
        run_whole(a, *span, end < most ? 0 : end - most, int(end < most ? end : most), w);
    });
}

}  // namespace

void latent_attention(const LatentArgs& a, Team& team) {
    int64_t units = 0;
    for (int64_t i = 0; i < a.span_count; ++i) units += units_of(a, a.spans[i]);
    float* memory = reinterpret_cast<float*>(a.scratch);
    const Workspace w = workspace(a, memory + team.index * workspace_floats(a));
    append_rows(a, team);
    team.sync();
    if (units < few_units(team.count))
        return run_split(a, memory + team.count * workspace_floats(a), w, team);
    const int64_t fair = units / (2 * team.count);
    run_parts(a, fair < 1 ? 1 : fair < kPartUnits ? fair : kPartUnits, w, team);
}

size_t latent_attention_scratch_bytes(const LatentArgs& a, int threads, int64_t max_context) {
    const int64_t blocks = (max_context + kRunTokens - 1) / kRunTokens;
    const int64_t most = a.T * units_of_token(a), few = few_units(threads);
    const int64_t records = (few < most ? few : most) * blocks * record_floats(a);
    return size_t(threads * workspace_floats(a) + records) * sizeof(float);
}

}  // namespace genfast::GENFAST_ISA

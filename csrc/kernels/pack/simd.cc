// Rows are read in vectors of sixteen columns and converted into scratch, in elements of the
// format; a panel of them is then a transposition of dwords, sixteen rows by sixteen dwords at a
// time. Only int4, whose scales are searched for, works on the transposed numbers: a lane a row.
#include "kernels/table.h"
#include "quant/dense.h"
#include "quant/fp8.h"
#include "quant/int4.h"
#include "quant/int8.h"
#include "simd/e4m3.h"
#include "simd/fixed.h"
#include "simd/rotation.h"
#include "simd/vec.h"

namespace genfast::GENFAST_ISA {

constexpr int64_t kColumns = kPackColumns;
constexpr int kHalf = kPanelRows / 2;

template <DType dtype>
GENFAST_INLINE Vec load16(const char* at) {
    if (dtype == DType::f32) return vload(reinterpret_cast<const float*>(at));
    const uint16_t* halves = reinterpret_cast<const uint16_t*>(at);
    return dtype == DType::f16 ? vload_f16(halves) : vload_bf16(halves);
}

template <DType dtype, class Fn>
GENFAST_INLINE void each_vector_of(const char* data, int64_t begin, int64_t end, Fn fn) {
    constexpr int64_t size = dtype == DType::f32 ? 4 : 2;
    int64_t k = begin;
    for (; k + kLanes <= end; k += kLanes) fn(k, load16<dtype>(data + k * size));
    if (k == end) return;
    char tail[kLanes * size] = {};
    std::memcpy(tail, data + k * size, size_t((end - k) * size));
    fn(k, load16<dtype>(tail));
}

// fn(k, sixteen columns from k on) over [begin, end) of a row; what lies beyond reads as zero.
template <class Fn>
GENFAST_INLINE void each_vector(const SourceRow& row, int64_t begin, int64_t end, Fn fn) {
    if (row.data && row.step == 1) {
        if (row.dtype == DType::f32) return each_vector_of<DType::f32>(row.data, begin, end, fn);
        if (row.dtype == DType::f16) return each_vector_of<DType::f16>(row.data, begin, end, fn);
        return each_vector_of<DType::bf16>(row.data, begin, end, fn);
    }
    for (int64_t k = begin; k < end; k += kLanes) {
        float values[kLanes] = {};
        for (int64_t i = k; row.data && i < end && i < k + kLanes; ++i)
            values[i - k] = load_element(row.data, row.dtype, i * row.step);
        fn(k, vload(values));
    }
}

// Adding 0 * x to a sum of zeros leaves zeros unless an x is not finite.
GENFAST_INLINE bool all_finite(Vec zeros) {
    return vsum(zeros) == 0;
}

// ---- dense ----

static bool convert_f32(const SourceRow& row, int64_t begin, int64_t end, float* out) {
    Vec zeros = vzero();
    each_vector(row, begin, end, [&](int64_t k, Vec x) GENFAST_MEMBER {
        zeros = vfma(x, vzero(), zeros);
        vstore(out + (k - begin), x);
    });
    return all_finite(zeros);
}

static void convert_bf16(const SourceRow& row, int64_t begin, int64_t end, uint16_t* out) {
    Vec zeros = vzero();
    each_vector(row, begin, end, [&](int64_t k, Vec x) GENFAST_MEMBER {
        zeros = vfma(x, vzero(), zeros);
        vstore_bf16(out + (k - begin), vround_bf16(x));
    });
    if (all_finite(zeros)) return;
    for (int64_t k = begin; k < end; ++k)  // vround_bf16 knows only the usual NaN
        out[k - begin] = f32_to_bf16(load_element(row.data, row.dtype, k * row.step));
}

// ---- int8 and fp8 ----

struct WholeRow {
    float largest;
    bool finite;
};

// out [K, rounded up to 64] = the row, rotated where the format is int8
template <Format format>
static WholeRow load_row(const SourceRow& row, int64_t K, float* out) {
    Vec zeros = vzero(), largest = vzero(), chunk[kRotatedVecs];
    for (int64_t begin = 0; begin < K; begin += kRotation) {
        const int64_t end = K - begin < kRotation ? K : begin + kRotation;
        for (Vec& v : chunk) v = vzero();
        each_vector(row, begin, end,
                    [&](int64_t k, Vec x) GENFAST_MEMBER { chunk[(k - begin) / kLanes] = x; });
        if (format == Format::int8) rotate_chunk(chunk, int(end - begin));
        for (int i = 0; i < kRotatedVecs; ++i) {
            zeros = vfma(chunk[i], vzero(), zeros);
            largest = vmax(largest, vabs(chunk[i]));
            vstore(out + begin + i * kLanes, chunk[i]);
        }
    }
    return {vmaxall(largest), all_finite(zeros)};
}

// -> the sum of the quants
static int32_t quantise_row(const float* row, int64_t columns, float inverse, int8_t* out) {
    VecI sums = izero();
    for (int64_t k = 0; k < columns; k += kLanes) {
        VecI q = vtoi(vmul(vload(row + k), vset(inverse)));
        sums = iadd(sums, q);
        istore_i8(out + k, q);
    }
    return isum(sums);
}

static void round_row(const float* row, int64_t columns, float inverse, int8_t* out) {
    for (int64_t k = 0; k < columns; k += kLanes)
        istore_i8(out + k, ie4m3(vmul(vload(row + k), vset(inverse))));
}

// ---- transposition ----

// Dwords [at, at + 16) of sixteen rows: tile[j] gets dword at + j of each.
GENFAST_INLINE void load_tile(const char* const* rows, int64_t at, VecI* tile) {
    for (int i = 0; i < kLanes; ++i) tile[i] = iload(rows[i] + at * 4);
    itranspose16(tile);
}

// `dwords` columns of 32 rows, to the panel's dword columns
static void store_dwords(const char* const* rows, int64_t dwords, std::byte* panel) {
    VecI tile[kLanes];
    for (int64_t at = 0; at < dwords; at += kLanes)
        for (int half = 0; half < kPanelRows; half += kHalf) {
            load_tile(rows + half, at, tile);
            const int64_t count = dwords - at < kLanes ? dwords - at : kLanes;
            for (int64_t j = 0; j < count; ++j)
                istore(panel + ((at + j) * kPanelRows + half) * 4, tile[j]);
        }
}

static void store_f16(const char* const* rows, int64_t columns, std::byte* panel) {
    uint16_t* out = reinterpret_cast<uint16_t*>(panel);
    VecI tile[kLanes];
    for (int64_t at = 0; at < columns; at += kLanes)
        for (int half = 0; half < kPanelRows; half += kHalf) {
            load_tile(rows + half, at, tile);
            const int64_t count = columns - at < kLanes ? columns - at : kLanes;
            for (int64_t j = 0; j < count; ++j)
                vstore_f16(out + (at + j) * kPanelRows + half, vbits(tile[j]));
        }
}

// ---- int4 ----

GENFAST_INLINE Vec quantise(Vec w, Vec inverse) {
    Vec x = vmax(vmul(w, inverse), vset(float(int4::kLow)));
    return vround(vmin(x, vset(float(int4::kHigh))));
}

// int4::choose_scale for sixteen rows: w[k] holds column k of the group.
GENFAST_INLINE Vec choose_scale(const VecI* w) {
    Vec extreme = vzero(), largest = vzero();
    for (int k = 0; k < kGroup; ++k) {
        Vec magnitude = vabs(vbits(w[k]));
        extreme = vselect_lt(largest, magnitude, vbits(w[k]), extreme);
        largest = vmax(largest, magnitude);
    }
    // The divisors side by side: each of their sums is one long chain.
    constexpr int count = sizeof(int4::kDivisors) / sizeof(float);
    Vec inverse[count], with_w[count], squared[count];
    for (int i = 0; i < count; ++i) {
        inverse[i] = vdiv(vset(int4::kDivisors[i]), extreme);
        with_w[i] = squared[i] = vzero();
    }
    for (int k = 0; k < kGroup; ++k)
        for (int i = 0; i < count; ++i) {
            Vec q = vround(vmin(vmul(vbits(w[k]), inverse[i]), vset(float(int4::kHigh))));
            with_w[i] = vfma(vbits(w[k]), q, with_w[i]);
            squared[i] = vfma(q, q, squared[i]);
        }
    Vec best = vzero(), chosen = vzero();
    for (int i = 0; i < count; ++i) {
        Vec scale = vdiv(with_w[i], squared[i]), explained = vmul(with_w[i], scale);
        chosen = vselect_lt(best, explained, scale, chosen);
        best = vselect_lt(best, explained, explained, best);
    }
    chosen = vmin(vmax(chosen, vset(-int4::kLargestScale)), vset(int4::kLargestScale));
    return vselect_lt(largest, vset(int4::kTiny), vzero(), chosen);
}

// Group `at / 32` of the chunk, sixteen rows of it.
static void store_int4(const char* const* rows, int64_t at, int half, std::byte* group) {
    VecI w[kGroup], q[kGroup];
    load_tile(rows + half, at, w);
    load_tile(rows + half, at + kLanes, w + kLanes);
    uint16_t* scales = reinterpret_cast<uint16_t*>(group) + half;
    vstore_f16(scales, choose_scale(w));
    Vec scale = vload_f16(scales);
    Vec inverse = vdiv(vset(1.0f), scale);
    inverse = vselect_lt(vabs(scale), vset(int4::kTiny), vzero(), inverse);
    for (int k = 0; k < kGroup; ++k)
        q[k] = iadd(vtoi(quantise(vbits(w[k]), inverse)), iset(-int4::kLow));
    for (int s = 0; s < kGroup / 8; ++s) {  // nibbles 0 4 1 5 2 6 3 7, the lowest first
        const VecI* step = q + s * 8;
        VecI nibbles = step[7];
        constexpr int kRest[] = {3, 6, 2, 5, 1, 4, 0};
        for (int k : kRest) nibbles = iadd(ishl<4>(nibbles), step[k]);
        istore(group + int4::kScaleBytes + (s * kPanelRows + half) * 4, nibbles);
    }
}

// ---- panels ----

struct Panel {
    SourceRow rows[kPanelRows];
    std::byte* out;
    float* scratch;
    const char* converted[kPanelRows];  // each row's columns as transposition takes them

    template <class T>
    T* scratch_row(int i) {
        converted[i] = reinterpret_cast<const char*>(scratch + i * kColumns);
        return reinterpret_cast<T*>(scratch + i * kColumns);
    }
};

// Rows lie far apart, and the hardware guesses within a page only: asks for the row after the next.
static void prefetch_after(const Panel& p, int i, int64_t begin, int64_t end) {
    if (i + 2 >= kPanelRows) return;
    const SourceRow& row = p.rows[i + 2];
    const int64_t size = itemsize(row.dtype);
    if (!row.data || row.step != 1) return;
    for (int64_t at = begin * size; at < end * size; at += 64) __builtin_prefetch(row.data + at);
}

// Whether whole vectors of these columns can be taken from the file as they are.
static bool is_ready(const SourceRow& row, Format format, int64_t columns) {
    return row.data && row.step == 1 && row.dtype == dense::dtype_of(format) &&
           format != Format::f16 && columns * itemsize(row.dtype) % 64 == 0;
}

static void pack_dense(Panel& p, Format format, int64_t begin, int64_t end) {
    const int64_t columns = end - begin;
    for (int i = 0; i < kPanelRows; ++i) {
        const SourceRow& row = p.rows[i];
        if (is_ready(row, format, columns))
            p.converted[i] = row.data + begin * itemsize(row.dtype);
        else if (format == Format::bf16)
            convert_bf16(row, begin, end, p.scratch_row<uint16_t>(i));
        else
            convert_f32(row, begin, end, p.scratch_row<float>(i));
    }
    std::byte* out = p.out + begin * kPanelRows * itemsize(dense::dtype_of(format));
    if (format == Format::f16)
        store_f16(p.converted, columns, out);
    else
        store_dwords(p.converted, format == Format::bf16 ? (columns + 1) / 2 : columns, out);
}

// Whole rows, one after the other: a row's scale depends on all of it.
template <Format format>
static void pack_whole_rows(Panel& p, int64_t K, bool* finite) {
    const int64_t columns = round_up(K, kRotation);
    int8_t* quants = reinterpret_cast<int8_t*>(p.scratch);
    float* row = p.scratch + kPanelRows * columns / int64_t(sizeof(float));
    for (int i = 0; i < kPanelRows; ++i, quants += columns) {
        const WholeRow found = load_row<format>(p.rows[i], K, row);
        finite[i] = found.finite;  // no others have quants
        const float largest = found.finite ? found.largest : 0;
        if constexpr (format == Format::int8) {
            int8::scales(p.out, K)[i] = int8::scale_of(largest);
            int8::row_sums(p.out, K)[i] =
                quantise_row(row, columns, int8::inverse_of(largest), quants);
        } else {
            fp8::scales(p.out, K)[i] = fp8::scale_of(largest);
            round_row(row, columns, fp8::inverse_of(largest), quants);
        }
        p.converted[i] = reinterpret_cast<const char*>(quants);
    }
    store_dwords(p.converted, (K + 3) / 4, p.out);
}

static void pack_int4(Panel& p, int64_t begin, int64_t end, bool* finite) {
    for (int i = 0; i < kPanelRows; ++i) {
        prefetch_after(p, i, begin, end);
        float* row = p.scratch_row<float>(i);
        finite[i] &= convert_f32(p.rows[i], begin, end, row);
        for (int64_t k = round_up(end - begin, kLanes); k < round_up(end - begin, kGroup); ++k)
            row[k] = 0;
    }
    for (int64_t at = 0; at < end - begin; at += kGroup)
        for (int half = 0; half < kPanelRows; half += kHalf)
            store_int4(p.converted, at, half, int4::group(p.out, (begin + at) / kGroup));
}

static void pack_in_parts(Panel& p, Format format, int64_t K, bool* finite) {
    for (int64_t begin = 0; begin < K; begin += kColumns) {
        const int64_t end = begin + kColumns < K ? begin + kColumns : K;
        if (format == Format::int4)
            pack_int4(p, begin, end, finite);
        else
            pack_dense(p, format, begin, end);
    }
}

void pack(const PackArgs& a, Team& team) {
    const int64_t K = a.w.K;
    Panel p;
    p.scratch = reinterpret_cast<float*>(a.scratch + size_t(team.index) * pack_scratch_bytes(K));
    team.each_job(a.last_panel - a.first_panel, [&](int64_t job) {
        const int64_t index = a.first_panel + job;
        bool finite[kPanelRows];
        for (int i = 0; i < kPanelRows; ++i) {
            p.rows[i] = source_row(a.sources, row_at(a.w, {index, i}));
            finite[i] = true;
        }
        p.out = a.panels + size_t(index) * panel_bytes(a.w.format, K);
        if (a.w.format == Format::int8) {
            pack_whole_rows<Format::int8>(p, K, finite);
        } else if (a.w.format == Format::fp8) {
            pack_whole_rows<Format::fp8>(p, K, finite);
        } else {
            pack_in_parts(p, a.w.format, K, finite);
        }
        for (int i = 0; i < kPanelRows; ++i) {
            const int64_t n = row_at(a.w, {index, i});
            if (!finite[i] && n < a.not_finite[team.index]) a.not_finite[team.index] = n;
        }
    });
}

}  // namespace genfast::GENFAST_ISA

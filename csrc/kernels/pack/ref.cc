#include "kernels/table.h"
#include "quant/dense.h"
#include "quant/fp8.h"
#include "quant/int4.h"
#include "quant/int8.h"

namespace genfast::ref {

// The row as float, rotated where the format is int8; true when all of it is finite.
static bool load_row(const SourceRow& row, const Matrix& w, float* out) {
    for (int64_t k = 0; k < w.K; ++k)
        out[k] = row.data ? load_element(row.data, row.dtype, k * row.step) : 0.0f;
    if (w.format == Format::int8) rotate(out, w.K);
    bool finite = true;
    for (int64_t k = 0; k < w.K; ++k) finite &= out[k] - out[k] == 0;
    return finite;
}

void pack(const PackArgs& a, Team& team) {
    const int64_t K = a.w.K;
    float* rows = reinterpret_cast<float*>(a.scratch + size_t(team.index) * pack_scratch_bytes(K));
    team.each_job(a.last_panel - a.first_panel, [&](int64_t job) {
        const int64_t p = a.first_panel + job;
        for (int i = 0; i < kPanelRows; ++i) {
            const int64_t n = row_at(a.w, {p, i});
            if (!load_row(source_row(a.sources, n), a.w, rows + i * K) &&
                n < a.not_finite[team.index])
                a.not_finite[team.index] = n;
        }
        std::byte* panel = a.panels + size_t(p) * panel_bytes(a.w.format, K);
        switch (a.w.format) {
            case Format::int8:
                if (a.not_finite[team.index] == kAllFinite) int8::pack_panel(rows, K, panel);
                break;
            case Format::fp8:
                if (a.not_finite[team.index] == kAllFinite) fp8::pack_panel(rows, K, panel);
                break;
            case Format::int4:
                if (a.not_finite[team.index] == kAllFinite) int4::pack_panel(rows, K, panel);
                break;
            default:
                dense::pack_panel(a.w.format, rows, K, panel);
        }
    });
}

}  // namespace genfast::ref

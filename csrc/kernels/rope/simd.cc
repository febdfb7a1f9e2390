#include "kernels/rope/table.h"
#include "kernels/table.h"
#include "simd/vec.h"

namespace genfast::GENFAST_ISA {

void rope_table(const RopeTableArgs& a, Team& team) {
    fill_rope_table(a, team);
}

// Products are rounded before they are added, as transformers does it: memory is the limit, and so
// float32 parity is to the bit.
GENFAST_INLINE void rotate(Vec& first, Vec& second, Vec cosine, Vec sine) {
    Vec u = first, v = second;
    first = vsub(vmul(u, cosine), vmul(v, sine));
    second = vadd(vmul(v, cosine), vmul(u, sine));
}

static void rotate_halves(const float* x, float* out, const float* cosine, int64_t half) {
    for (int64_t i = 0; i < half; i += kLanes) {
        int n = int(half - i < kLanes ? half - i : kLanes);
        Vec first = vload_n(x + i, n), second = vload_n(x + half + i, n);
        rotate(first, second, vload_n(cosine + i, n), vload_n(cosine + half + i, n));
        vstore_n(out + i, first, n);
        vstore_n(out + half + i, second, n);
    }
}

static void rotate_pairs(const float* x, float* out, const float* cosine, int64_t half) {
    int64_t i = 0;
    for (; i + kLanes <= half; i += kLanes) {
        Vec first, second;
        vload_pairs(x + 2 * i, first, second);
        rotate(first, second, vload(cosine + i), vload(cosine + half + i));
        vstore_pairs(out + 2 * i, first, second);
    }
    for (; i < half; ++i) {
        float u = x[2 * i], v = x[2 * i + 1], c = cosine[i], s = cosine[half + i];
        out[2 * i] = u * c - v * s;
        out[2 * i + 1] = v * c + u * s;
    }
}

static void copy(const float* x, float* out, int64_t n) {
    if (x == out) return;
    for (int64_t i = 0; i < n; i += kLanes) {
        int left = int(n - i < kLanes ? n - i : kLanes);
        vstore_n(out + i, vload_n(x + i, left), left);
    }
}

// Threads share the heads of all rows; what lies behind the heads goes with the last of them.
void rope(const RopeArgs& a, Team& team) {
    Range part = share(a.T * a.heads, team);
    for (int64_t i = part.begin; i < part.end; ++i) {
        int64_t t = i / a.heads, h = i % a.heads, start = t * a.width + h * a.D;
        const float* cosine = a.table + t * a.R;
        if (a.interleaved)
            rotate_pairs(a.x + start, a.out + start, cosine, a.R / 2);
        else
            rotate_halves(a.x + start, a.out + start, cosine, a.R / 2);
        int64_t end = h + 1 == a.heads ? a.width - h * a.D : a.D;
        copy(a.x + start + a.R, a.out + start + a.R, end - a.R);
    }
}

}  // namespace genfast::GENFAST_ISA

#include "kernels/table.h"
#include "kernels/wkv_norm.h"
#include "simd/activation.h"

namespace genfast::GENFAST_ISA {

namespace {

// What the columns of one head and token come to, before its state is touched.
struct Keys {
    float decay[kMaxWkvHead], q[kMaxWkvHead], back[kMaxWkvHead], key[kMaxWkvHead];
    float u[kMaxWkvHead];
    float bonus;
};

void keys_of(const Wkv7Args& a, int64_t head, int64_t row, Keys& keys) {
    const Vec one = vset(1.0f);
    Vec squares = vzero(), bonus = vzero();
    for (int64_t i = 0; i < a.D; i += kLanes) {
        const int n = lanes_from(i, a.D);
        const Vec k = vload_n(a.k + row + i, n), rate = vsigmoid(vload_n(a.a + row + i, n));
        const Vec w = vsigmoid(vload_n(a.w + row + i, n));
        vstore_n(keys.decay + i, vexp(vmul(vset(-kWkvSlowest), w)), n);
        const Vec q = vmul(k, vload_n(a.k_k + head + i, n));
        const Vec key = vmul(k, vfma(vsub(rate, one), vload_n(a.k_a + head + i, n), one));
        Vec u = vload_n(a.v + row + i, n);
        if (a.m) {
            const Vec to = vsub(vload_n(a.v_first + row + i, n), u);
            u = vfma(to, vsigmoid(vload_n(a.m + row + i, n)), u);
        }
        vstore_n(keys.u + i, u, n);
        vstore_n(keys.q + i, q, n);
        vstore_n(keys.back + i, rate, n);
        vstore_n(keys.key + i, key, n);
        squares = vfma(q, q, squares);
        const Vec read = vmul(vload_n(a.r + row + i, n), vload_n(a.r_k + head + i, n));
        bonus = vfma(read, key, bonus);
    }
    keys.bonus = vsum(bonus);
    const float size = __builtin_sqrtf(vsum(squares));
    const Vec length = vset(size < 1e-12f ? 1e-12f : size);
    for (int64_t i = 0; i < a.D; i += kLanes) {
        const int n = lanes_from(i, a.D);
        const Vec q = vdiv(vload_n(keys.q + i, n), length);
        vstore_n(keys.q + i, q, n);
        vstore_n(keys.back + i, vmul(q, vload_n(keys.back + i, n)), n);
    }
}

// Sixteen values of a head: their part of y. old: null for zeros; may be `state`.
GENFAST_INLINE Vec block(const Keys& keys, const float* r, int64_t D, Vec u, const float* old,
                         float* state) {
    Vec removed = vzero(), y = vzero();
    if (old)
        for (int64_t i = 0; i < D; ++i)
            removed = vfma(vload(old + i * kLanes), vset(-keys.q[i]), removed);
    for (int64_t i = 0; i < D; ++i) {
        Vec s = vmul(vset(keys.key[i]), u);
        s = vfma(vset(keys.back[i]), removed, s);
        if (old) s = vfma(vset(keys.decay[i]), vload(old + i * kLanes), s);
        vstore(state + i * kLanes, s);
        y = vfma(s, vset(r[i]), y);
    }
    return y;
}

void finish(const Wkv7Args& a, int64_t head, int64_t row, const Keys& keys, const float* y) {
    const HeadNorm norm = head_norm(y, a.D, a.eps);
    for (int64_t j = 0; j < a.D; j += kLanes) {
        const int n = lanes_from(j, a.D);
        Vec out = normed(vload_n(y + j, n), norm);
        out = vfma(out, vload_n(a.weight + head + j, n), vload_n(a.bias + head + j, n));
        out = vfma(vset(keys.bonus), vload_n(keys.u + j, n), out);
        vstore_n(a.out + row + j, vmul(out, vload_n(a.g + row + j, n)), n);
    }
}

}  // namespace

void wkv7(const Wkv7Args& a, Team& team) {
    Range part = share(a.heads, team);
    const int64_t floats = wkv_state_floats(1, a.D);
    Keys keys;
    float y[kMaxWkvHead];
    for (int64_t i = 0; i < a.span_count; ++i) {
        const SequenceSpan& span = a.spans[i];
        for (int64_t h = part.begin; h < part.end; ++h) {
            float* state = a.state.after(span) + h * floats;
            const float* old = a.state.before(span);
            if (old) old += h * floats;
            for (int64_t t = span.row; t < span.row + span.rows; ++t, old = state) {
                const int64_t row = (t * a.heads + h) * a.D;
                keys_of(a, h * a.D, row, keys);
                for (int64_t j = 0; j < a.D; j += kLanes) {
                    const int n = lanes_from(j, a.D);
                    const Vec u = vload_n(keys.u + j, n);
                    const int64_t at = j * a.D;  // a block holds D keys of sixteen values
                    vstore_n(y + j,
                             block(keys, a.r + row, a.D, u, old ? old + at : nullptr, state + at),
                             n);
                }
                finish(a, h * a.D, row, keys, y);
            }
        }
    }
}

}  // namespace genfast::GENFAST_ISA

#include "kernels/table.h"
#include "kernels/wkv_norm.h"
#include "simd/math.h"

namespace genfast::GENFAST_ISA {

namespace {

// Of one head and token.
struct Keys {
    const float *r, *k;
    float decay[kMaxWkvHead];
    float bonus;  // sum_i r[i] * u[i] * k[i]: what the token's own values count for in y
};

void keys_of(const Wkv6Args& a, int64_t head, int64_t t, Keys& keys) {
    const int64_t row = t * a.heads * a.D + head;
    const float *u = a.u + head, *w = a.w + t * a.w_stride + head;
    keys.r = a.r + row;
    keys.k = a.k + row;
    Vec bonus = vzero();
    for (int64_t i = 0; i < a.D; i += kLanes) {
        const int n = lanes_from(i, a.D);
        vstore_n(keys.decay + i, vexp(vsub(vzero(), vexp(vload_n(w + i, n)))), n);
        const Vec read = vmul(vload_n(keys.r + i, n), vload_n(u + i, n));
        bonus = vfma(read, vload_n(keys.k + i, n), bonus);
    }
    keys.bonus = vsum(bonus);
}

// `blocks` times sixteen values of a head, `last` in the last block: their y. Several, as their
// sums do not wait for one another. old: null for zeros; may be `state`.
template <int blocks>
GENFAST_INLINE void values(const Keys& keys, int64_t D, const float* v, int last, const float* old,
                           float* state, float* y) {
    Vec own[blocks], sum[blocks];
    for (int b = 0; b < blocks; ++b) {
        own[b] = vload_n(v + b * kLanes, b + 1 < blocks ? kLanes : last);
        sum[b] = vmul(vset(keys.bonus), own[b]);
    }
    for (int64_t i = 0; i < D; ++i) {
        const Vec k = vset(keys.k[i]), r = vset(keys.r[i]), decay = vset(keys.decay[i]);
        for (int b = 0; b < blocks; ++b) {
            const int64_t at = (b * D + i) * kLanes;  // a block holds D keys of sixteen values
            Vec s = vmul(k, own[b]);
            if (old) {
                const Vec before = vload(old + at);
                sum[b] = vfma(before, r, sum[b]);
                s = vfma(decay, before, s);
            }
            vstore(state + at, s);
        }
    }
    for (int b = 0; b < blocks; ++b)
        vstore_n(y + b * kLanes, sum[b], b + 1 < blocks ? kLanes : last);
}

void finish(const Wkv6Args& a, int64_t head, int64_t row, const float* y) {
    const HeadNorm norm = head_norm(y, a.D, a.eps);
    for (int64_t j = 0; j < a.D; j += kLanes) {
        const int n = lanes_from(j, a.D);
        const Vec out = vfma(normed(vload_n(y + j, n), norm), vload_n(a.weight + head + j, n),
                             vload_n(a.bias + head + j, n));
        vstore_n(a.out + row + j, vmul(out, vload_n(a.g + row + j, n)), n);
    }
}

void token(const Wkv6Args& a, int64_t head, int64_t t, const float* old, float* state) {
    const int64_t D = a.D, row = t * a.heads * D + head;
    Keys keys;
    float y[kMaxWkvHead];
    keys_of(a, head, t, keys);
    for (int64_t j = 0; j < D; j += 2 * kLanes) {
        const int64_t at = j * D, next = j + kLanes;
        const float* before = old ? old + at : nullptr;
        if (next < D)
            values<2>(keys, D, a.v + row + j, lanes_from(next, D), before, state + at, y + j);
        else
            values<1>(keys, D, a.v + row + j, lanes_from(j, D), before, state + at, y + j);
    }
    finish(a, head, row, y);
}

}  // namespace

void wkv6(const Wkv6Args& a, Team& team) {
    Range part = share(a.heads, team);
    const int64_t floats = wkv_state_floats(1, a.D);
    for (int64_t i = 0; i < a.span_count; ++i) {
        const SequenceSpan& span = a.spans[i];
        for (int64_t h = part.begin; h < part.end; ++h) {
            float* state = a.state.after(span) + h * floats;
            const float* old = a.state.before(span);
            if (old) old += h * floats;
            for (int64_t t = span.row; t < span.row + span.rows; ++t, old = state)
                token(a, h * a.D, t, old, state);
        }
    }
}

}  // namespace genfast::GENFAST_ISA

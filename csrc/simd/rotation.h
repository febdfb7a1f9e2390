// quant/rotation.h for a chunk of 64 columns in registers, to the same bits.
#pragma once

#include "simd/vec.h"

namespace genfast::GENFAST_ISA {

constexpr int kRotatedVecs = 64 / kLanes;

// The row's next 64 columns, or its last `columns`.
GENFAST_INLINE void rotate_chunk(Vec* v, int columns) {
    for (int i = 0; i < kRotatedVecs; ++i) {
        const int left = columns - i * kLanes;
        const Vec fours = vbutterfly<2>(vbutterfly<1>(v[i]));
        if (left >= kLanes)
            v[i] = vbutterfly<8>(vbutterfly<4>(fours));
        else if (left >= 4)
            v[i] = vkeep_n(vmul(fours, vset(0.5f)), left & ~3, v[i]);
    }
    if (columns < 64) {
        for (int i = 0; i < columns / kLanes; ++i) v[i] = vmul(v[i], vset(0.25f));
        return;
    }
    for (int distance = 1; distance < kRotatedVecs; distance *= 2)
        for (int i = 0; i < kRotatedVecs; ++i)
            if (!(i & distance)) {
                const Vec a = v[i], b = v[i + distance];
                v[i] = vadd(a, b);
                v[i + distance] = vsub(a, b);
            }
    for (int i = 0; i < kRotatedVecs; ++i) v[i] = vmul(v[i], vset(0.125f));
}

}  // namespace genfast::GENFAST_ISA

// The loop of embed. Unpacking is exact in every format up to one multiplication by the scale, and
// by that of the op, so all instruction sets give the same bits.
#pragma once

#include "core/team.h"
#include "kernels/embed/embed.h"
#include "quant/unpack.h"

namespace genfast::GENFAST_ISA {

static inline void embed_rows(const EmbedArgs& a, Team& team) {
    constexpr int64_t kChunk = 256;
    const int64_t E = a.table.K;
    float part[kChunk];  // not straight into `out`, which may hold the residual
    Range rows = share(a.T, team);
    for (int64_t t = rows.begin; t < rows.end; ++t)
        for (int64_t begin = 0; begin < E; begin += kChunk) {
            int64_t count = E - begin < kChunk ? E - begin : kChunk;
            unpack_row(a.table, a.ids[t], begin, begin + count, part);
            float* out = a.out + t * E + begin;
            const float* residual = a.residual ? a.residual + t * E + begin : nullptr;
            for (int64_t i = 0; i < count; ++i) part[i] *= a.scale;
            for (int64_t i = 0; i < count; ++i) out[i] = residual ? part[i] + residual[i] : part[i];
        }
}

}  // namespace genfast::GENFAST_ISA

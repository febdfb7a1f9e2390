#include "kernels/table.h"

namespace genfast::ref {

void probe(const ProbeArgs& a, Team& team) {
    if (a.kind == ProbeKind::read) {
        const int32_t* words = reinterpret_cast<const int32_t*>(a.data);
        Range mine = share(a.bytes / 4, team, 256);
        uint32_t sum = 0;
        for (int64_t i = mine.begin; i < mine.end; ++i) sum += uint32_t(words[i]);
        a.result[team.index] = double(sum);
        a.operations[team.index] = double(mine.end - mine.begin);
        return;
    }
    if (a.kind == ProbeKind::barrier) {
        for (int64_t i = 0; i < a.rounds; ++i) team.sync();
        a.result[team.index] = a.operations[team.index] = double(a.rounds);
        return;
    }
    double x = 1;
    for (int64_t i = 0; i < a.rounds; ++i) x = x * 0.5 + 0.5;
    a.result[team.index] = x;
    a.operations[team.index] = 2 * double(a.rounds);
}

}  // namespace genfast::ref

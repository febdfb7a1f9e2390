#include "kernels/route/choose.h"
#include "kernels/table.h"
#include "simd/math.h"
#include "simd/reduce.h"

namespace genfast::GENFAST_ISA {

void route(const RouteArgs& a, Team& team) {
    alignas(64) float score[kMaxExperts + kLanes], merit[kMaxExperts + kLanes];
    bool chosen[kMaxExperts];
    const bool sigmoid = a.scoring == Scoring::sigmoid;
    Range rows = share(a.T, team);
    for (int64_t t = rows.begin; t < rows.end; ++t) {
        const float* logits = a.logits + t * a.experts;
        float largest = logits[0];
        for (int64_t e = 1; e < a.experts; ++e) largest = logits[e] > largest ? logits[e] : largest;
        Vec sum = vzero();
        for (int64_t e = 0; e < a.experts; e += kLanes) {
            const int n = int(a.experts - e < kLanes ? a.experts - e : kLanes);
            const Vec x = vload_n(logits + e, n), one = vset(1.0f);
            const Vec grown = vexp(sigmoid ? vsub(vzero(), x) : vsub(x, vset(largest)));
            const Vec y = sigmoid ? vdiv(one, vadd(one, grown)) : grown;
            sum = vadd(sum, vkeep_n(y, n, vzero()));
            vstore(score + e, y);
        }
        const float inverse = a.scoring == Scoring::softmax ? 1.0f / vsum(sum) : 1.0f;
        for (int64_t e = 0; e < a.experts; ++e) {
            score[e] *= inverse;
            merit[e] = (a.scoring == Scoring::softmax_of_chosen ? logits[e] : score[e]) +
                       (a.bias ? a.bias[e] : 0);
        }
        choose(a, merit, chosen);
        RouteArgs how = a;
        how.renormalise |= a.scoring == Scoring::softmax_of_chosen;
        write_routes(how, score, chosen, a.out + t * 2 * a.k);
    }
}

}  // namespace genfast::GENFAST_ISA

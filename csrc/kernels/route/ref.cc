#include <algorithm>
#include <cmath>

#include "kernels/route/choose.h"
#include "kernels/table.h"

namespace genfast::ref {

void route(const RouteArgs& a, Team& team) {
    double score[kMaxExperts], merit[kMaxExperts];
    bool chosen[kMaxExperts];
    Range rows = share(a.T, team);
    for (int64_t t = rows.begin; t < rows.end; ++t) {
        const float* logits = a.logits + t * a.experts;
        const double largest = *std::max_element(logits, logits + a.experts);
        double sum = 0;
        for (int64_t e = 0; e < a.experts; ++e) {
            score[e] = a.scoring == Scoring::sigmoid ? 1 / (1 + std::exp(-double(logits[e])))
                                                     : std::exp(logits[e] - largest);
            sum += score[e];
        }
        for (int64_t e = 0; e < a.experts; ++e) {
            if (a.scoring == Scoring::softmax) score[e] /= sum;
            merit[e] = (a.scoring == Scoring::softmax_of_chosen ? logits[e] : score[e]) +
                       (a.bias ? a.bias[e] : 0);
        }
        choose(a, merit, chosen);
        RouteArgs how = a;
        how.renormalise |= a.scoring == Scoring::softmax_of_chosen;
        write_routes(how, score, chosen, a.out + t * 2 * a.k);
    }
}

}  // namespace genfast::ref

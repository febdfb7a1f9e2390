// Slots and snapshots of recurrent state beside a plain model of them.
#include <map>
#include <optional>
#include <vector>

#include "core/error.h"
#include "core/random.h"
#include "engine/kv_cache.h"
#include "selftest.h"

namespace genfast {
namespace {

struct Dice {
    uint64_t seed, at = 0;
    int64_t below(int64_t n) { return int64_t(uniform(seed, 11, at++) * double(n)); }
};

// The one float of a state marks all tokens that it follows.
float mark_of(const std::vector<int32_t>& tokens, int64_t count) {
    uint32_t mark = 17;
    for (int64_t i = 0; i < count; ++i) mark = mark * 31 + uint32_t(tokens[size_t(i)]);
    return float(mark >> 8);
}

struct Sequence {
    std::vector<int32_t> tokens;
    KvSequence kv;
    int64_t cached = 0;
};

bool holds_its_state(const KvCache& cache, const Sequence& s) {
    if (s.cached == 0) return s.kv.state < 0;
    return s.kv.state >= 0 &&
           cache.states().slots().data[s.kv.state * 16] == mark_of(s.tokens, s.cached);
}

// Sequences come, go on, part and go, with fewer slots than they would like.
void random_sequences(uint64_t seed, bool keep) {
    Dice dice{seed};
    KvCache cache({}, 64, keep, 16, 7);
    std::vector<std::vector<int32_t>> heads(3);
    for (auto& head : heads)
        for (int i = 0; i < 200; ++i) head.push_back(int32_t(dice.below(4)));
    std::vector<Sequence> running;
    int64_t found = 0, refused = 0;
    bool right = true, counted = true;
    for (int turn = 0; turn < 900; ++turn) {
        int64_t choice = dice.below(10);
        if (choice < 3 || running.empty()) {
            Sequence s;
            const auto& head = heads[size_t(dice.below(3))];
            s.tokens.assign(head.begin(), head.begin() + 1 + dice.below(199));
            int64_t limit = int64_t(s.tokens.size()) - 1;
            int64_t known = cache.known(s.tokens, limit);
            s.cached = cache.attach(s.kv, s.tokens, limit);
            right = right && s.cached == known && s.cached % kPageTokens == 0 &&
                    s.kv.branch >= s.cached;
            found += s.cached;
            running.push_back(std::move(s));
        } else if (choice < 7) {
            Sequence& s = running[size_t(dice.below(int64_t(running.size())))];
            int64_t more = dice.below(2) ? kPageTokens - s.cached % kPageTokens : 1 + dice.below(9);
            while (int64_t(s.tokens.size()) < s.cached + more)
                s.tokens.push_back(int32_t(dice.below(4)));
            if (!cache.own(s.kv, s.cached) || !cache.grow(s.kv, s.cached + more)) {
                ++refused;
                continue;
            }
            s.cached += more;
            cache.states().slots().data[s.kv.state_out() * 16] = mark_of(s.tokens, s.cached);
            cache.settle(s.kv);
            cache.remember(s.kv, s.tokens, s.cached);
        } else if (choice == 7) {
            const Sequence& from = running[size_t(dice.below(int64_t(running.size())))];
            Sequence part{from.tokens, cache.fork(from.kv), from.cached};
            part.tokens.resize(size_t(part.cached));
            running.push_back(std::move(part));
        } else {
            size_t index = size_t(dice.below(int64_t(running.size())));
            cache.release(running[index].kv);
            running.erase(running.begin() + std::ptrdiff_t(index));
        }
        std::map<int32_t, int> users;
        for (const Sequence& s : running) {
            right = right && holds_its_state(cache, s);
            for (int32_t slot : {s.kv.state, s.kv.fresh})
                if (slot >= 0) ++users[slot];
        }
        counted = counted && cache.states().in_use() == int64_t(users.size());
    }
    for (Sequence& s : running) cache.release(s.kv);
    expect(right, cat("states follow their tokens, seed ", seed));
    expect(counted, cat("slots in use are those of the sequences, seed ", seed));
    expect(cache.states().in_use() == 0, cat("every slot came back, seed ", seed));
    expect(refused > 0, "slots were short");
    expect(keep ? found > 0 : found == 0 && cache.states().snapshots() == 0,
           "snapshots are found if kept");
}

}  // namespace

void state_cache() {
    for (uint64_t seed = 1; seed <= 4; ++seed) {
        random_sequences(seed, true);
        random_sequences(seed, false);
    }
}

}  // namespace genfast

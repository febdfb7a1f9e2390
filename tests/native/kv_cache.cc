// The paged cache beside a plain model of it: random sequences that share beginnings come, grow and
// go; what a page is said to hold it must hold, and in the end every page is there again.
#include <algorithm>
#include <map>
#include <vector>

#include "core/error.h"
#include "core/random.h"
#include "engine/kv_cache.h"
#include "selftest.h"

namespace genfast {
namespace {

struct Dice {
    uint64_t seed, at = 0;
    int64_t below(int64_t n) { return int64_t(uniform(seed, 9, at++) * double(n)); }
};

// One head: the first number of each token's key marks what that token follows.
const KvLayout kLayout{KvType::bf16, 1, 16};

struct Sequence {
    std::vector<int32_t> tokens;
    KvSequence kv;
    int64_t cached = 0;
};

// What the page of tokens [.., end) must hold: a mark of all tokens up to its own end.
uint16_t mark_of(const std::vector<int32_t>& tokens, int64_t token) {
    uint32_t mark = 17;
    for (int64_t i = 0; i <= token; ++i) mark = mark * 31 + uint32_t(tokens[size_t(i)]);
    return uint16_t(mark ^ mark >> 16);
}

uint16_t* place_of(const KvCache& cache, const Sequence& s, int64_t token) {
    int32_t page = s.kv.pages[size_t(token / kPageTokens)];
    return reinterpret_cast<uint16_t*>(cache.layers()[0].data + kLayout.keys(page, 0) +
                                       kLayout.key_element(token % kPageTokens, 0));
}

// But for the pages that were given back.
bool holds_its_tokens(const KvCache& cache, const Sequence& s) {
    if (s.kv.forgotten != std::count(s.kv.pages.begin(), s.kv.pages.end(), -1)) return false;
    for (int64_t i = 0; i < s.cached; ++i)
        if (s.kv.pages[size_t(i / kPageTokens)] >= 0 &&
            *place_of(cache, s, i) != mark_of(s.tokens, i))
            return false;
    return true;
}

void random_sequences(uint64_t seed, bool keep, int64_t window, int64_t sinks) {
    Dice dice{seed};
    KvCache cache({kLayout}, 48, keep);
    std::vector<std::vector<int32_t>> heads(3);
    for (auto& head : heads)
        for (int i = 0; i < 200; ++i) head.push_back(int32_t(dice.below(4)));
    std::vector<Sequence> running;
    int64_t found = 0;
    bool right = true, bounded = true;
    for (int turn = 0; turn < 600; ++turn) {
        int64_t choice = dice.below(10);
        if (choice < 3 || running.empty()) {
            Sequence s;
            const auto& head = heads[size_t(dice.below(3))];
            s.tokens.assign(head.begin(), head.begin() + 1 + dice.below(199));
            for (int64_t i = dice.below(40); i > 0; --i) s.tokens.push_back(int32_t(dice.below(4)));
            int64_t limit = int64_t(s.tokens.size()) - 1;
            int64_t known = cache.known(s.tokens, limit);
            s.cached = cache.attach(s.kv, s.tokens, limit);
            right = right && s.cached <= known && holds_its_tokens(cache, s);
            found += s.cached;
            running.push_back(std::move(s));
        } else if (choice < 8) {
            Sequence& s = running[size_t(dice.below(int64_t(running.size())))];
            int64_t more = 1 + dice.below(50);
            while (int64_t(s.tokens.size()) < s.cached + more)
                s.tokens.push_back(int32_t(dice.below(4)));
            if (!cache.own(s.kv, s.cached) || !cache.grow(s.kv, s.cached + more)) continue;
            for (; more > 0; --more, ++s.cached)
                *place_of(cache, s, s.cached) = mark_of(s.tokens, s.cached);
            cache.remember(s.kv, s.tokens, s.cached);
            if (window > 0) cache.forget(s.kv, sinks, s.cached - window);
            // Sinks stay, and so does the window.
            for (int64_t i = 0; i < s.cached; ++i)
                if (i < sinks || i >= s.cached - window)
                    right = right && s.kv.pages[size_t(i / kPageTokens)] >= 0;
        } else if (choice == 8) {  // two go on from one; who writes has a copy first
            Sequence twin = running[size_t(dice.below(int64_t(running.size())))];
            twin.kv = cache.fork(twin.kv);
            twin.tokens.resize(size_t(twin.cached));
            running.push_back(std::move(twin));
        } else {
            size_t index = size_t(dice.below(int64_t(running.size())));
            cache.release(running[index].kv);
            running.erase(running.begin() + std::ptrdiff_t(index));
        }
        std::map<int32_t, int> users;
        double shares = 0;
        for (const Sequence& s : running) {
            right = right && holds_its_tokens(cache, s);
            for (int32_t page : s.kv.pages)
                if (page >= 0) ++users[page];
            shares += cache.share_of(s.kv);
        }
        bounded = bounded && cache.in_use() == int64_t(users.size()) &&
                  std::abs(shares - double(users.size())) < 1e-6;
    }
    for (Sequence& s : running) cache.release(s.kv);
    expect(right, cat("pages hold what their tokens left there, seed ", seed));
    expect(bounded, cat("pages in use are those of the sequences, seed ", seed));
    expect(cache.in_use() == 0 && cache.available() == cache.pages(),
           cat("every page came back, seed ", seed));
    expect(keep ? found > 0 : found == 0 && cache.kept() == 0, "prefixes are found if kept");
}

void runs_are_kept_whole() {
    KvCache cache({kLayout}, 64, false);
    KvSequence one, two;
    cache.grow(one, 40 * kPageTokens);
    cache.grow(two, 3 * kPageTokens);
    bool aligned = true;
    for (const KvSequence* s : {&one, &two})
        for (size_t i = 0; i < s->pages.size(); ++i)
            aligned = aligned && s->pages[i] % kRunPages == int32_t(i % kRunPages) &&
                      (i % kRunPages == 0 || s->pages[i] == s->pages[i - 1] + 1);
    expect(aligned, "with room enough, page i lies at place i of its run");
    expect(!cache.grow(two, 60 * kPageTokens) && two.pages.size() == 3, "all or nothing");
}

// Without a prefix tree: the first tokens of another's.
void a_part_is_shared() {
    KvCache cache({kLayout}, 32, false);
    Sequence whole;
    for (int i = 0; i < 100; ++i) whole.tokens.push_back(i);
    cache.grow(whole.kv, 100);
    for (; whole.cached < 100; ++whole.cached)
        *place_of(cache, whole, whole.cached) = mark_of(whole.tokens, whole.cached);
    Sequence part{{whole.tokens.begin(), whole.tokens.begin() + 70}, cache.fork(whole.kv, 70), 70};
    expect(part.kv.pages.size() == 3 && cache.in_use() == 4, "complete and cut pages are shared");
    bool owned = cache.own(part.kv, 70);
    part.tokens.push_back(500);
    *place_of(cache, part, 70) = mark_of(part.tokens, 70);
    part.cached = 71;
    expect(owned && cache.in_use() == 5, "one page is copied");
    expect(holds_its_tokens(cache, whole) && holds_its_tokens(cache, part), "each keeps its own");
    cache.release(whole.kv);
    expect(holds_its_tokens(cache, part) && cache.in_use() == 3, "one goes, the other stays");
    cache.release(part.kv);
    expect(cache.in_use() == 0, "every page came back");
}

}  // namespace

void kv_cache() {
    for (uint64_t seed = 1; seed <= 4; ++seed) {
        random_sequences(seed, true, 0, 0);
        random_sequences(seed, false, 0, 0);
        random_sequences(seed, true, 70, 0);
        random_sequences(seed, true, 70, 5);
    }
    a_part_is_shared();
    runs_are_kept_whole();
}

}  // namespace genfast

// What the tests of the kernels share: one fast instruction set against the reference.
#pragma once

#include <cstdio>
#include <cstring>
#include <map>
#include <string>
#include <vector>

#include "core/digest.h"
#include "core/error.h"
#include "core/random.h"
#include "core/thread_pool.h"
#include "kernels/dispatch.h"

namespace genfast {

using Floats = std::vector<float>;
constexpr double kEps = 0x1p-23;  // twice the unit roundoff of a float

// Random numbers made of exact operations alone: the same on every machine, if they are asked for
// in the same order (so never two of them among the arguments of a call).
class Numbers {
  public:
    explicit Numbers(uint64_t seed) : seed_(seed) {}
    double unit() { return uniform(seed_, 0, position_++); }
    int64_t integer(int64_t least, int64_t most) {
        return least + int64_t(unit() * double(most - least + 1));
    }
    // A bell within [-2, 2], times `scale`.
    float bell(double scale = 1) {
        double sum = -2;
        for (int i = 0; i < 4; ++i) sum += unit();
        return float(sum * scale);
    }
    Floats floats(int64_t count, double scale = 1) {
        Floats numbers(static_cast<size_t>(count));
        for (float& x : numbers) x = bell(scale);
        return numbers;
    }

  private:
    uint64_t seed_, position_ = 0;
};

class Check {
  public:
    Check(const Kernels& fast, uint64_t seed)
        : fast(fast), ref(kernels_for("ref")), numbers(seed) {}

    const Kernels& fast;
    const Kernels& ref;
    Numbers numbers;
    int failures = 0;
    std::map<std::string, uint64_t> digests;  // of what the fast kernels gave, by kind

    void expect(bool condition, const std::string& what) {
        if (condition) return;
        std::fprintf(stderr, "FAILED: %s: %s\n", fast.isa, what.c_str());
        ++failures;
    }

    // |got[i] - want[i]| <= bound(i), or both are the same infinity
    template <class Bound>
    void near(const std::string& what, const Floats& got, const Floats& want, Bound bound) {
        for (size_t i = 0; i < got.size(); ++i) {
            double off = double(got[i]) - want[i], allowed = bound(i);
            if (got[i] == want[i] || (off <= allowed && -off <= allowed)) continue;
            return expect(false, cat(what, ": element ", i, " is ", got[i], ", must be ", want[i],
                                     " within ", allowed));
        }
    }

    template <class T>
    void same(const std::string& what, const std::vector<T>& a, const std::vector<T>& b) {
        const bool alike = a.size() == b.size() &&
                           (a.empty() || !std::memcmp(a.data(), b.data(), a.size() * sizeof(T)));
        expect(alike, what);
    }

    // These bits must be the same on every fast instruction set.
    void digest(const std::string& kind, const void* data, size_t bytes) {
        uint64_t& so_far = digests[kind];
        so_far = so_far * 3 + digest64(data, bytes);
    }
    template <class T>
    void digest(const std::string& kind, const std::vector<T>& data) {
        digest(kind, data.data(), data.size() * sizeof(T));
    }
};

template <class Args>
void run(void (*kernel)(const Args&, Team&), const Args& args, int threads = 1) {
    shared_pool(threads).run([&](Team& team) { kernel(args, team); });
}

void check_matmul(Check&);     // matmul.cc: pack too
void check_attention(Check&);  // attention.cc
void check_latent(Check&);     // latent.cc: head_matmul too
void check_experts(Check&);    // experts.cc: route, moe
void check_images(Check&);     // images.cc: convolutions, attention without a cache ...
void check_rows(Check&);       // rows.cc: what works row by row, or number by number
void check_sampling(Check&);   // sampling.cc: sample, logprobs
void check_state(Check&);      // state.cc: causal_conv1d, selective_scan, wkv4, wkv6, wkv7

}  // namespace genfast

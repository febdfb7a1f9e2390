// Every kernel of every fast instruction set against the reference, and the fast ones against each
// other, on random shapes. GENFAST_SEED repeats a run.
//     genfast_kernels [VARIANT]
// VARIANT: what an int8 matmul must run as here by default (matmul_variant), for emulators that are
// told which CPU to be. The digests printed are the same on all machines for the same seed.
#include <cstdlib>
#include <random>

#include "kernels/check.h"

int main(int count, char** arguments) {
    using namespace genfast;
    const char* given = std::getenv("GENFAST_SEED");
    const uint64_t seed = given ? std::strtoull(given, nullptr, 10) : std::random_device{}();
    std::fprintf(stderr, "GENFAST_SEED=%llu\n", static_cast<unsigned long long>(seed));

    int failures = 0;
    if (count > 1) {
        const std::string variant = kernels_for().matmul_variant(Format::int8);
        if (variant != arguments[1]) {
            std::fprintf(stderr, "FAILED: int8 runs as %s\n", variant.c_str());
            ++failures;
        }
    }
    std::map<std::string, uint64_t> digests;
    for (const std::string& isa : available_isas()) {
        if (isa == "ref") continue;
        Check check(kernels_for(isa), seed);
        check_matmul(check);
        check_attention(check);
        check_rows(check);
        check_latent(check);
        check_experts(check);
        check_images(check);
        check_sampling(check);
        check_state(check);
        if (isa == "amx") check.digests.erase("matmul bf16");  // its sums are other bits
        for (const auto& [kind, digest] : check.digests) {
            const uint64_t first = digests.emplace(kind, digest).first->second;
            check.expect(digest == first, cat(kind, ": not the bits of other instruction sets"));
        }
        failures += check.failures;
    }
    for (const auto& [kind, digest] : digests)
        std::printf("%-16s %016llx\n", kind.c_str(), static_cast<unsigned long long>(digest));
    std::fprintf(stderr, "%d failures\n", failures);
    return failures ? EXIT_FAILURE : EXIT_SUCCESS;
}
